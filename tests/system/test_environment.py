"""The environment of steps: built from nothing, the same wherever deployctl was started."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from deployctl.system.environment import (
    PATH,
    account,
    base_environment,
    step_environment,
    system_locale,
)


def test_the_account_is_the_one_of_the_passwd_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/else")
    monkeypatch.setenv("USER", "somebody")
    entry = pwd.getpwuid(os.geteuid())
    who = account()
    assert (who.user, who.home, who.uid) == (entry.pw_name, entry.pw_dir, entry.pw_uid)
    assert who.shell == (entry.pw_shell or "/bin/sh")


def test_an_account_without_an_entry_lives_in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 3_999_999)
        who = account()
    assert (who.user, who.home, who.shell, who.uid) == ("3999999", "/", "/bin/sh", 3_999_999)


def locale_of(directory: Path, *contents: str) -> dict[str, str]:
    files = [directory / str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(content)
    return system_locale([str(file) for file in files])


def test_the_locale_comes_from_the_systems_files(tmp_path: Path) -> None:
    content = '# ours\n\nLANG="de_DE.UTF-8"\nexport LC_TIME=C\nTZ=Europe/Berlin\nLANGUAGE=de:en\n'
    assert locale_of(tmp_path, content) == {
        "LANG": "de_DE.UTF-8",
        "LC_TIME": "C",
        "TZ": "Europe/Berlin",
        "LANGUAGE": "de:en",
    }


def test_of_two_files_the_later_wins(tmp_path: Path) -> None:
    assert locale_of(tmp_path, "LANG=C\nTZ=UTC\n", "LANG=en_GB.UTF-8\n") == {
        "LANG": "en_GB.UTF-8",
        "TZ": "UTC",
    }


@pytest.mark.parametrize("content", ["", "LANG=\n", "#LANG=de_DE\n", "PATH=/evil\nHTTP_PROXY=x\n"])
def test_without_a_language_it_is_c_utf_8_and_nothing_else_is_taken(
    tmp_path: Path, content: str
) -> None:
    assert locale_of(tmp_path, content) == {"LANG": "C.UTF-8"}


def test_missing_files_and_the_callers_locale_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "tlh_KL.UTF-8")
    monkeypatch.setenv("TZ", "Mars/Olympus")
    assert system_locale([str(tmp_path / "missing"), str(tmp_path)]) == {"LANG": "C.UTF-8"}


def test_the_base_holds_the_account_the_path_and_the_locale_and_nothing_of_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://attacker.example")
    monkeypatch.setenv("PATH", "/evil")
    who = account()
    assert base_environment() == {
        "HOME": who.home,
        "USER": who.user,
        "LOGNAME": who.user,
        "SHELL": who.shell,
        "PATH": PATH,
        **system_locale(),
    }


def test_a_step_sees_the_base_the_configuration_the_secrets_and_the_facts() -> None:
    seen = step_environment(
        {"NODE_ENV": "production"}, {"KEY": "s3cret"}, {"DEPLOYCTL_REPO": "app"}
    )
    assert seen == {
        **base_environment(),
        "CI": "true",
        "NODE_ENV": "production",
        "KEY": "s3cret",
        "DEPLOYCTL_REPO": "app",
    }


def test_configuration_may_change_anything_but_the_facts() -> None:
    changed = {"PATH": "/opt/node/bin", "LANG": "C", "CI": "false", "DEPLOYCTL_REPO": "other"}
    seen = step_environment(changed, {"DEPLOYCTL_REPO": "third"}, {"DEPLOYCTL_REPO": "app"})
    assert seen == {**base_environment(), **changed, "DEPLOYCTL_REPO": "app"}
