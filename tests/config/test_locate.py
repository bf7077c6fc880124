"""Finding of the config and the state directory, and paths in the config."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployctl.config import locate
from deployctl.errors import ConfigError
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield the home of the passwd entry, which is faked; $HOME names another directory."""
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    entry = pwd.struct_passwd(("me", "x", os.geteuid(), os.getegid(), "", str(home), "/bin/sh"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pwd, "getpwuid", lambda _uid: entry)
        patch.setattr(locate, "SYSTEM_CONFIG", str(tmp_path / "etc" / "repos.yml"))
        patch.setenv("HOME", str(tmp_path / "elsewhere"))
        patch.delenv("DEPLOYCTL_CONFIG", raising=False)
        patch.chdir(work)
        yield home


def write(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("repos: {}\n")
    return str(path)


def test_the_config_is_searched_in_order(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = write(tmp_path / "etc" / "repos.yml")
    assert locate.find_config(None) == system
    own = write(home / ".config" / "deployctl" / "repos.yml")
    assert locate.find_config(None) == own
    here = write(tmp_path / "work" / "repos.yml")
    assert locate.find_config(None) == here
    named = write(tmp_path / "variable.yml")
    monkeypatch.setenv("DEPLOYCTL_CONFIG", "../variable.yml")
    assert locate.find_config(None) == named
    explicit = write(tmp_path / "explicit.yml")
    assert locate.find_config("../explicit.yml") == explicit


def test_an_empty_variable_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = write(tmp_path / "work" / "repos.yml")
    monkeypatch.setenv("DEPLOYCTL_CONFIG", "")
    assert locate.find_config(None) == here


def test_a_config_named_by_option_must_exist(tmp_path: Path) -> None:
    write(tmp_path / "work" / "repos.yml")
    with pytest.raises(ConfigError) as error:
        locate.find_config("/nowhere/repos.yml")
    assert str(error.value) == (
        "--config /nowhere/repos.yml: No such file or directory: name a repos.yml that exists"
    )


def test_a_config_named_by_the_variable_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYCTL_CONFIG", "/nowhere/repos.yml")
    with pytest.raises(ConfigError) as error:
        locate.find_config(None)
    assert str(error.value) == (
        "$DEPLOYCTL_CONFIG /nowhere/repos.yml: No such file or directory: "
        "name a repos.yml that exists"
    )


def test_without_any_config_the_error_names_all_paths_searched(tmp_path: Path, home: Path) -> None:
    with pytest.raises(ConfigError) as error:
        locate.find_config(None)
    assert str(error.value) == (
        f"no repos.yml found (searched ./repos.yml, {home}/.config/deployctl/repos.yml, "
        f"{tmp_path}/etc/repos.yml): write one, see the README, or name it with --config"
    )


@pytest.mark.parametrize("explicit", [None, "repos.yml"])
def test_a_removed_working_directory_is_no_unexpected_error(
    explicit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = tmp_path / "removed"
    removed.mkdir()
    monkeypatch.chdir(removed)
    removed.rmdir()
    with pytest.raises(ConfigError, match=r"no repos\.yml found|No such file or directory"):
        locate.find_config(explicit)
    system = write(tmp_path / "etc" / "repos.yml")
    assert locate.find_config(None) == system


def test_the_default_state_directory_is_in_the_home_of_the_passwd_entry(home: Path) -> None:
    assert locate.default_state_dir() == f"{home}/.local/state/deployctl"


def test_an_account_without_passwd_entry_is_a_config_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    with monkeypatch.context() as patch, pytest.raises(ConfigError) as error:
        patch.setattr(pwd, "getpwuid", unknown)
        locate.default_state_dir()
    assert str(error.value) == (
        f"user id {os.geteuid()} has no passwd entry and so no home: give it one, or name "
        "the config with --config and set state_dir"
    )


def test_paths_are_relative_to_the_given_directory_and_a_tilde_is_the_home(home: Path) -> None:
    assert locate.resolve_path("a/../b", "/etc/deployctl") == "/etc/deployctl/b"
    assert locate.resolve_path(".", "/etc/deployctl") == "/etc/deployctl"
    assert locate.resolve_path("//srv//x/", "/etc") == "/srv/x"
    assert locate.resolve_path("~/x", "/etc") == f"{home}/x"
    assert locate.resolve_path("~", "/etc") == str(home)
    assert locate.resolve_path("~x", "/etc") == "/etc/~x"


def test_a_config_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        locate.read_config(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}: cannot read: Is a directory: name a file that this account may read"
    )


def test_a_config_larger_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "repos.yml"
    path.write_bytes(b"#" * 1024 * 1024)
    path.chmod(0o600)
    assert len(locate.read_config(str(path))) == 1024 * 1024
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match=re.escape(f"{path}: larger than 1 MiB: split it")):
        locate.read_config(str(path))


def test_finding_the_config_imports_only_fast_modules() -> None:
    code = (
        "import sys, os, pwd; before = set(sys.modules); import deployctl.config.locate;"
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [
        "__future__",
        "deployctl",
        "deployctl.config",
        "deployctl.config.locate",
        "deployctl.errors",
        "deployctl.system",
        "deployctl.system.trust",
    ]
