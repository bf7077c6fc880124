"""Files that decide what this account runs, and who else may have a hand in them."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from deployctl.config.compiled import load_webhook_config
from deployctl.config.load import load
from deployctl.errors import ConfigError
from deployctl.system.trust import account_name
from deployctl.values.secret import Secret
from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.front import deliver

NOBODY = 65534
ME = account_name(os.geteuid())
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def config(tmp_path: Path, write_config: WriteConfig) -> Path:
    """A repos.yml of which there is a compiled copy."""
    (tmp_path / "state").mkdir(mode=0o700)
    path = write_config({"app": {}})
    load_webhook_config(str(path))
    assert (tmp_path / "state" / "config.json").exists()
    return path


def complaints(path: Path) -> set[str]:
    """What commands and the webhook say of a repos.yml."""
    return {_complaint(load, path), _complaint(load_webhook_config, path)}


def _complaint(read: Callable[[str], object], path: Path) -> str:
    try:
        read(str(path))
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o777])
def test_a_config_that_everybody_can_change_is_refused(config: Path, mode: int) -> None:
    config.chmod(mode)
    said = f"{config} can be changed by other accounts (mode {mode:04o}): chmod go-w {config}"
    assert complaints(config) == {said}


@as_root
def test_a_config_of_a_stranger_is_refused_and_roots_is_not(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(config, NOBODY, -1)
    owner = account_name(NOBODY)
    said = f"{config} belongs to {owner}, who is neither root nor this account, root"
    assert complaints(config) == {f"{said}: sudo chown root {config}"}
    os.chown(config, 0, 0)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert load(str(config)).path == str(config)


@pytest.mark.parametrize("mode", [0o660, 0o664, 0o644, 0o400])
def test_a_group_that_is_the_accounts_own_may_write(config: Path, mode: int) -> None:
    mine = pwd.getpwuid(os.geteuid())
    if any(each.pw_gid == mine.pw_gid and each != mine for each in pwd.getpwall()):
        pytest.skip(f"the group of {mine.pw_name} is not its own here")
    config.chmod(mode)
    assert complaints(config) == {""}


def test_a_group_with_somebody_else_in_it_may_not_write(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = pwd.getpwuid(os.geteuid())
    other = pwd.struct_passwd(("ada", "x", 4711, mine.pw_gid, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [mine, other])
    config.chmod(0o664)
    (said,) = complaints(config)
    assert said.startswith(f"{config} can be changed by the group ")
    assert said.endswith(f" (mode 0664): chmod g-w {config}")


@as_root
def test_any_other_group_may_not_write(config: Path) -> None:
    os.chown(config, -1, 54321)
    config.chmod(0o620)
    said = f"{config} can be changed by the group #54321 (mode 0620): chmod g-w {config}"
    assert complaints(config) == {said}


def test_of_a_link_the_target_counts(config: Path) -> None:
    real = config.parent / "a checkout" / "repos.yml"
    real.parent.mkdir()
    config.rename(real)
    config.symlink_to(real)
    assert stat.S_IMODE(config.lstat().st_mode) == 0o777
    assert complaints(config) == {""}
    real.chmod(0o666)
    said = f"{config} (a link to {real}) can be changed by other accounts (mode 0666)"
    assert complaints(config) == {f"{said}: chmod go-w '{real}'"}


def test_a_secret_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    assert Secret(f"file:{path}").reveal() == "s3cret"
    path.chmod(0o606)
    with pytest.raises(ConfigError) as caught:
        Secret(f"file:{path}").reveal()
    assert str(caught.value) == (
        f"the secret file {path} can be changed by other accounts (mode 0606): chmod go-w {path}"
    )


def test_commands_exit_with_2_and_the_webhook_answers_503_and_says_why_in_its_log(
    app: App,
) -> None:
    app.release("1")
    path = app.cli.config
    path.chmod(0o666)
    said = f"{path} can be changed by other accounts (mode 0666): chmod go-w {path}"
    done = app.cli("status")
    assert (done.code, done.error) == (2, said)
    assert deliver(app.cli, b"{}").status == 503
    assert (app.state / "logs" / "webhook.log").read_text().endswith(f" webhook\n{said}\n")
