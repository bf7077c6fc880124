"""Tests that environments are built from nothing, independent of where deployctl was started."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from deployctl.system.environment import (
    PATH,
    base_environment,
    current_account,
    step_environment,
    system_locale,
)


def test_the_account_comes_from_its_passwd_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/else")
    monkeypatch.setenv("USER", "somebody")
    entry = pwd.getpwuid(os.geteuid())
    current = current_account()
    assert (current.user, current.home, current.uid) == (entry.pw_name, entry.pw_dir, entry.pw_uid)
    assert current.shell == (entry.pw_shell or "/bin/sh")


def test_the_home_of_an_account_without_passwd_entry_is_slash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 3_999_999)
        found = current_account()
    assert (found.user, found.home, found.shell, found.uid) == ("3999999", "/", "/bin/sh", 3999999)


def read_locale(directory: Path, *contents: str) -> dict[str, str]:
    files = [directory / str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(content)
    return system_locale([str(file) for file in files])


def test_the_locale_comes_from_the_systems_files(tmp_path: Path) -> None:
    content = '# ours\n\nLANG="de_DE.UTF-8"\nexport LC_TIME=C\nTZ=Europe/Berlin\nLANGUAGE=de:en\n'
    assert read_locale(tmp_path, content) == {
        "LANG": "de_DE.UTF-8",
        "LC_TIME": "C",
        "TZ": "Europe/Berlin",
        "LANGUAGE": "de:en",
    }


def test_a_later_file_overrides_an_earlier_one(tmp_path: Path) -> None:
    assert read_locale(tmp_path, "LANG=C\nTZ=UTC\n", "LANG=en_GB.UTF-8\n") == {
        "LANG": "en_GB.UTF-8",
        "TZ": "UTC",
    }


@pytest.mark.parametrize("content", ["", "LANG=\n", "#LANG=de_DE\n", "PATH=/evil\nHTTP_PROXY=x\n"])
def test_lang_defaults_to_c_utf_8_and_other_variables_are_ignored(
    tmp_path: Path, content: str
) -> None:
    assert read_locale(tmp_path, content) == {"LANG": "C.UTF-8"}


def test_missing_files_and_the_callers_locale_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "tlh_KL.UTF-8")
    monkeypatch.setenv("TZ", "Mars/Olympus")
    assert system_locale([str(tmp_path / "missing"), str(tmp_path)]) == {"LANG": "C.UTF-8"}


def test_the_base_environment_is_account_path_and_locale_and_nothing_of_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://attacker.example")
    monkeypatch.setenv("PATH", "/evil")
    current = current_account()
    assert base_environment() == {
        "HOME": current.home,
        "USER": current.user,
        "LOGNAME": current.user,
        "SHELL": current.shell,
        "PATH": PATH,
        **system_locale(),
    }


def test_a_step_gets_the_base_environment_configuration_secrets_and_deployctl_variables() -> None:
    env = step_environment({"NODE_ENV": "production"}, {"KEY": "s3cret"}, {"DEPLOYCTL_REPO": "app"})
    assert env == {
        **base_environment(),
        "CI": "true",
        "NODE_ENV": "production",
        "KEY": "s3cret",
        "DEPLOYCTL_REPO": "app",
    }


def test_configuration_can_set_every_variable_except_those_of_deployctl() -> None:
    changed = {"PATH": "/opt/node/bin", "LANG": "C", "CI": "false", "DEPLOYCTL_REPO": "other"}
    env = step_environment(changed, {"DEPLOYCTL_REPO": "third"}, {"DEPLOYCTL_REPO": "app"})
    assert env == {**base_environment(), **changed, "DEPLOYCTL_REPO": "app"}
