"""Tests that files which decide what this account runs are refused if others can change them."""

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
from tests.support.deploy_cgi import deliver

NOBODY = 65534
ME = account_name(os.geteuid())
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the account of a file")


@pytest.fixture
def config(tmp_path: Path, write_config: WriteConfig) -> Path:
    """A repos.yml with a compiled copy in its state directory."""
    (tmp_path / "state").mkdir(mode=0o700)
    path = write_config({"app": {}})
    load_webhook_config(str(path))
    assert (tmp_path / "state" / "config.json").exists()
    return path


def config_errors(path: Path) -> set[str]:
    """Return the errors with which commands and the webhook refuse a repos.yml; empty: accepted."""
    return {_config_error(load, path), _config_error(load_webhook_config, path)}


def _config_error(read: Callable[[str], object], path: Path) -> str:
    try:
        read(str(path))
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o777])
def test_a_config_that_every_account_can_change_is_refused(config: Path, mode: int) -> None:
    config.chmod(mode)
    message = f"{config} can be changed by other accounts (mode {mode:04o}): chmod go-w {config}"
    assert config_errors(config) == {message}


@as_root
def test_a_config_of_another_account_is_refused_and_one_of_root_is_accepted(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(config, NOBODY, -1)
    other_name = account_name(NOBODY)
    message = f"{config} belongs to {other_name}, who is neither root nor this account, root"
    assert config_errors(config) == {f"{message}: sudo chown root {config}"}
    os.chown(config, 0, 0)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert load(str(config)).path == str(config)


@pytest.mark.parametrize("mode", [0o660, 0o664, 0o644, 0o400])
def test_the_private_group_of_the_account_may_write(config: Path, mode: int) -> None:
    mine = pwd.getpwuid(os.geteuid())
    if any(entry.pw_gid == mine.pw_gid and entry != mine for entry in pwd.getpwall()):
        pytest.skip(f"the group of {mine.pw_name} is not its own here")
    config.chmod(mode)
    assert config_errors(config) == {""}


def test_a_group_with_another_member_may_not_write(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = pwd.getpwuid(os.geteuid())
    other_account = pwd.struct_passwd(("ada", "x", 4711, mine.pw_gid, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [mine, other_account])
    config.chmod(0o664)
    (message,) = config_errors(config)
    assert message.startswith(f"{config} can be changed by the group ")
    assert message.endswith(f" (mode 0664): chmod g-w {config}")


@as_root
def test_any_other_group_may_not_write(config: Path) -> None:
    os.chown(config, -1, 54321)
    config.chmod(0o620)
    message = f"{config} can be changed by the group #54321 (mode 0620): chmod g-w {config}"
    assert config_errors(config) == {message}


def test_for_a_symlink_the_mode_of_its_target_counts(config: Path) -> None:
    target = config.parent / "a checkout" / "repos.yml"
    target.parent.mkdir()
    config.rename(target)
    config.symlink_to(target)
    assert stat.S_IMODE(config.lstat().st_mode) == 0o777
    assert config_errors(config) == {""}
    target.chmod(0o666)
    message = f"{config} (a link to {target}) can be changed by other accounts (mode 0666)"
    assert config_errors(config) == {f"{message}: chmod go-w '{target}'"}


def test_a_secret_file_that_other_accounts_can_change_is_refused(tmp_path: Path) -> None:
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


def test_commands_exit_with_2_and_the_webhook_answers_503_and_logs_the_reason(
    app: App,
) -> None:
    app.release("1")
    path = app.cli.config
    path.chmod(0o666)
    message = f"{path} can be changed by other accounts (mode 0666): chmod go-w {path}"
    done = app.cli("status")
    assert (done.code, done.error) == (2, message)
    assert deliver(app.cli, b"{}").status == 503
    assert (app.state / "logs" / "webhook.log").read_text().endswith(f" webhook\n{message}\n")
