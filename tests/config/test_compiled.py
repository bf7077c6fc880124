"""The compiled copy of the config that webhooks read."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import deployctl
from deployctl.config import load as load_module
from deployctl.config.compiled import WebhookConfig, load_webhook_config
from deployctl.errors import ConfigError
from deployctl.values.secret import Secret
from tests.support.paths import ROOT

CONFIG = """\
state_dir: state  # beside this file
max_body: 2M
channels: {phone: "bark://host/channel-token"}
repos:
  blog:
    url: git@github.com:you/blog.git
    path: /srv/blog
    branch: live
    forge: github
    id: 17
    full_name: you/blog
    webhook_secret: [env:BLOG, literal-hook-secret]
    secrets: {TOKEN: secret-of-a-step}
    notify: [phone]
  shop: {url: /srv/git/shop, path: /srv/shop, tags: v*}
"""


class SlowPathError(Exception):
    """The YAML was parsed although the copy should have done."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "repos.yml"
    path.write_text(CONFIG)
    (tmp_path / "state").mkdir(mode=0o700)
    return path


@pytest.fixture
def compiled(config: Path) -> Path:
    """The copy that the first webhook left."""
    load_webhook_config(str(config))
    return config.parent / "state" / "config.json"


def without_yaml(config: Path, monkeypatch: pytest.MonkeyPatch) -> WebhookConfig:
    def refuse(data: bytes, path: str) -> None:
        raise SlowPathError

    with monkeypatch.context() as patch:
        patch.setattr(load_module, "parse", refuse)
        return load_webhook_config(str(config))


def assert_is_the_config(found: WebhookConfig, config: Path) -> None:
    assert found.state_dir == str(config.parent / "state")
    assert found.max_body == 2 * 1024 * 1024
    assert list(found.repos) == ["blog", "shop"]
    blog, shop = found.repos.values()
    assert (blog.name, blog.branch, blog.forge, blog.id, blog.full_name, blog.secrets) == (
        "blog",
        "live",
        "github",
        "17",
        "you/blog",
        (Secret("env:BLOG"), Secret("literal-hook-secret")),
    )
    assert (
        shop.name,
        shop.branch,
        shop.tags,
        shop.forge,
        shop.id,
        shop.full_name,
        shop.secrets,
    ) == (
        "shop",
        "main",
        "v*",
        None,
        None,
        None,
        (),
    )


def test_the_first_webhook_reads_the_yaml_and_leaves_a_copy_for_the_next(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SlowPathError):
        without_yaml(config, monkeypatch)
    assert_is_the_config(load_webhook_config(str(config)), config)
    assert_is_the_config(without_yaml(config, monkeypatch), config)


@pytest.mark.parametrize(
    "line",
    ["state_dir: 'state'", 'state_dir: "state"', "state_dir:   ./state/", "state_dir: state"],
)
def test_the_state_directory_is_guessed_however_it_is_written(
    line: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(CONFIG.replace("state_dir: state ", f"{line} "))
    load_webhook_config(str(config))
    assert_is_the_config(without_yaml(config, monkeypatch), config)


def test_a_wrong_guess_of_the_state_directory_is_never_believed(config: Path) -> None:
    tricky = CONFIG.replace("state_dir: state ", "x: &a state\nstate_dir: *a ").replace(
        "x:", "x-dir:"
    )
    config.write_text(tricky)
    assert_is_the_config(load_webhook_config(str(config)), config)
    wrong = config.parent / "*a"
    wrong.mkdir()
    (config.parent / "state" / "config.json").rename(wrong / "config.json")
    assert_is_the_config(load_webhook_config(str(config)), config)
    assert (config.parent / "state" / "config.json").exists()


def test_the_copy_is_private_whatever_the_umask(config: Path) -> None:
    for umask in (0, 0o777):
        before = os.umask(umask)
        try:
            load_webhook_config(str(config))
        finally:
            os.umask(before)
        copy = config.parent / "state" / "config.json"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        copy.unlink()


def test_the_copy_holds_no_secret_but_those_of_webhooks(compiled: Path) -> None:
    text = compiled.read_text()
    assert "literal-hook-secret" in text
    assert "secret-of-a-step" not in text
    assert "channel-token" not in text
    assert sorted(json.loads(text)) == ["env_names", "max_body", "repos", "stamp", "state_dir"]


def test_nothing_is_left_beside_the_copy(compiled: Path) -> None:
    assert [path.name for path in compiled.parent.iterdir()] == ["config.json"]


def test_a_change_of_the_config_is_seen_at_once(
    config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(CONFIG.replace("branch: live", "branch: next"))
    with pytest.raises(SlowPathError):
        without_yaml(config, monkeypatch)
    assert load_webhook_config(str(config)).repos["blog"].branch == "next"
    assert without_yaml(config, monkeypatch).repos["blog"].branch == "next"


def test_a_config_that_broke_is_refused_although_there_is_a_copy(
    config: Path, compiled: Path
) -> None:
    config.write_text(CONFIG.replace("branch: live", "brnach: live"))
    with pytest.raises(ConfigError) as error:
        load_webhook_config(str(config))
    assert str(error.value) == f"{config}:8: repos.blog.brnach: unknown key, did you mean branch?"


def test_the_copy_of_another_config_of_another_version_does_not_count(
    config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = config.parent / "twin.yml"
    twin.write_text(CONFIG)
    with pytest.raises(SlowPathError):
        without_yaml(twin, monkeypatch)
    monkeypatch.setattr("deployctl.config.compiled.__version__", f"{deployctl.__version__}.post1")
    with pytest.raises(SlowPathError):
        without_yaml(config, monkeypatch)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606])
def test_a_copy_that_others_can_reach_does_not_count(
    mode: int, config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.chmod(mode)
    with pytest.raises(SlowPathError):
        without_yaml(config, monkeypatch)
    load_webhook_config(str(config))
    assert stat.S_IMODE(compiled.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_copy_of_another_account_does_not_count(
    config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(compiled, 65534, -1)
    with pytest.raises(SlowPathError):
        without_yaml(config, monkeypatch)


def test_a_copy_behind_a_symlink_does_not_count(
    config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.rename(config.parent / "moved.json")
    compiled.symlink_to(config.parent / "moved.json")
    with pytest.raises(SlowPathError):
        without_yaml(config, monkeypatch)
    load_webhook_config(str(config))
    assert not compiled.is_symlink()


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b"null", b"\xff", b'{"stamp": 1}'])
def test_a_copy_that_is_damaged_is_made_anew(rubbish: bytes, config: Path, compiled: Path) -> None:
    good = compiled.read_bytes()
    compiled.write_bytes(rubbish)
    assert_is_the_config(load_webhook_config(str(config)), config)
    assert compiled.read_bytes() == good


def test_a_copy_cut_off_in_its_values_is_made_anew(config: Path, compiled: Path) -> None:
    document = json.loads(compiled.read_text())
    del document["repos"]["blog"]["branch"]
    compiled.write_text(json.dumps(document))
    assert_is_the_config(load_webhook_config(str(config)), config)


def test_a_missing_state_directory_is_left_missing(config: Path) -> None:
    (config.parent / "state").rmdir()
    assert_is_the_config(load_webhook_config(str(config)), config)
    assert not (config.parent / "state").exists()


def test_a_copy_that_cannot_be_written_is_no_error(config: Path) -> None:
    (config.parent / "state" / "config.json").mkdir()
    assert_is_the_config(load_webhook_config(str(config)), config)
    assert [path.name for path in (config.parent / "state").iterdir()] == ["config.json"]


def test_the_compiled_path_imports_no_yaml_click_dataclasses_or_typing(
    config: Path, compiled: Path
) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from deployctl.config.compiled import load_webhook_config\n"
        f"assert load_webhook_config({str(config)!r}).repos['blog'].branch == 'live'\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"yaml", "click", "dataclasses", "typing", "pathlib", "inspect", "tempfile", "logging"}
    assert heavy.isdisjoint(done.stdout.split())
