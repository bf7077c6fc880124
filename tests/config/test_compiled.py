"""The compiled copy of repos.yml that webhooks read."""

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


class YamlParsedError(Exception):
    """The YAML was parsed, instead of reading the compiled copy."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "repos.yml"
    path.write_text(CONFIG)
    (tmp_path / "state").mkdir(mode=0o700)
    return path


@pytest.fixture
def compiled(config: Path) -> Path:
    """Return the path of the compiled copy, after a first webhook has written it."""
    load_webhook_config(str(config))
    return config.parent / "state" / "config.json"


def load_without_yaml(config: Path, monkeypatch: pytest.MonkeyPatch) -> WebhookConfig:
    """Return the config from the compiled copy; raise YamlParsedError if it cannot be used."""

    def refuse(data: bytes, path: str) -> None:
        raise YamlParsedError

    with monkeypatch.context() as patch:
        patch.setattr(load_module, "parse", refuse)
        return load_webhook_config(str(config))


def assert_config(found: WebhookConfig, config: Path) -> None:
    """Check that ``found`` has the values of :data:`CONFIG`."""
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


def test_the_first_webhook_parses_the_yaml_and_writes_a_copy_for_the_next(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(YamlParsedError):
        load_without_yaml(config, monkeypatch)
    assert_config(load_webhook_config(str(config)), config)
    assert_config(load_without_yaml(config, monkeypatch), config)


@pytest.mark.parametrize(
    "line",
    ["state_dir: 'state'", 'state_dir: "state"', "state_dir:   ./state/", "state_dir: state"],
)
def test_the_state_directory_is_guessed_in_every_usual_spelling(
    line: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(CONFIG.replace("state_dir: state ", f"{line} "))
    load_webhook_config(str(config))
    assert_config(load_without_yaml(config, monkeypatch), config)


def test_a_copy_in_a_wrongly_guessed_state_directory_is_not_used(config: Path) -> None:
    tricky = CONFIG.replace("state_dir: state ", "x: &a state\nstate_dir: *a ").replace(
        "x:", "x-dir:"
    )
    config.write_text(tricky)
    assert_config(load_webhook_config(str(config)), config)
    wrong = config.parent / "*a"
    wrong.mkdir()
    (config.parent / "state" / "config.json").rename(wrong / "config.json")
    assert_config(load_webhook_config(str(config)), config)
    assert (config.parent / "state" / "config.json").exists()


def test_the_copy_is_private_with_any_umask(config: Path) -> None:
    for umask in (0, 0o777):
        before = os.umask(umask)
        try:
            load_webhook_config(str(config))
        finally:
            os.umask(before)
        copy = config.parent / "state" / "config.json"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        copy.unlink()


def test_the_copy_has_no_secrets_but_those_of_webhooks(compiled: Path) -> None:
    text = compiled.read_text()
    assert "literal-hook-secret" in text
    assert "secret-of-a-step" not in text
    assert "channel-token" not in text
    assert sorted(json.loads(text)) == ["env_names", "max_body", "repos", "stamp", "state_dir"]


def test_no_temporary_file_is_left_in_the_state_directory(compiled: Path) -> None:
    assert [path.name for path in compiled.parent.iterdir()] == ["config.json"]


def test_a_changed_config_is_parsed_at_the_next_webhook(
    config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(CONFIG.replace("branch: live", "branch: next"))
    with pytest.raises(YamlParsedError):
        load_without_yaml(config, monkeypatch)
    assert load_webhook_config(str(config)).repos["blog"].branch == "next"
    assert load_without_yaml(config, monkeypatch).repos["blog"].branch == "next"


def test_a_config_that_became_invalid_is_refused_although_there_is_a_copy(
    config: Path, compiled: Path
) -> None:
    config.write_text(CONFIG.replace("branch: live", "brnach: live"))
    with pytest.raises(ConfigError) as error:
        load_webhook_config(str(config))
    assert str(error.value) == f"{config}:8: repos.blog.brnach: unknown key, did you mean branch?"


def test_the_copy_of_another_config_or_another_version_is_not_used(
    config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = config.parent / "other.yml"
    other.write_text(CONFIG)
    with pytest.raises(YamlParsedError):
        load_without_yaml(other, monkeypatch)
    monkeypatch.setattr("deployctl.config.compiled.__version__", f"{deployctl.__version__}.post1")
    with pytest.raises(YamlParsedError):
        load_without_yaml(config, monkeypatch)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606])
def test_a_copy_that_other_accounts_can_access_is_not_used(
    mode: int, config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.chmod(mode)
    with pytest.raises(YamlParsedError):
        load_without_yaml(config, monkeypatch)
    load_webhook_config(str(config))
    assert stat.S_IMODE(compiled.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")
def test_a_copy_that_another_account_owns_is_not_used(
    config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(compiled, 65534, -1)
    with pytest.raises(YamlParsedError):
        load_without_yaml(config, monkeypatch)


def test_a_copy_that_is_a_symlink_is_not_used(
    config: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.rename(config.parent / "moved.json")
    compiled.symlink_to(config.parent / "moved.json")
    with pytest.raises(YamlParsedError):
        load_without_yaml(config, monkeypatch)
    load_webhook_config(str(config))
    assert not compiled.is_symlink()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"stamp": 1}'])
def test_a_damaged_copy_is_replaced(content: bytes, config: Path, compiled: Path) -> None:
    good = compiled.read_bytes()
    compiled.write_bytes(content)
    assert_config(load_webhook_config(str(config)), config)
    assert compiled.read_bytes() == good


def test_a_copy_without_one_of_the_values_is_replaced(config: Path, compiled: Path) -> None:
    document = json.loads(compiled.read_text())
    del document["repos"]["blog"]["branch"]
    compiled.write_text(json.dumps(document))
    assert_config(load_webhook_config(str(config)), config)


def test_a_missing_state_directory_is_not_created(config: Path) -> None:
    (config.parent / "state").rmdir()
    assert_config(load_webhook_config(str(config)), config)
    assert not (config.parent / "state").exists()


def test_a_copy_that_cannot_be_written_is_no_error(config: Path) -> None:
    (config.parent / "state" / "config.json").mkdir()
    assert_config(load_webhook_config(str(config)), config)
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
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    slow = {"yaml", "click", "dataclasses", "typing", "pathlib", "inspect", "tempfile", "logging"}
    assert slow.isdisjoint(result.stdout.split())
