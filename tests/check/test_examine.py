"""``deployctl check``: which checks run, their output, the exit code; nothing is changed."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import sqlite3
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.check import examine
from deployctl.check.finding import Finding, findings_of, ok
from deployctl.errors import GitError, LayoutError
from deployctl.values.repo import Config
from tests.support.app import App
from tests.support.checks import about

NOBODY = 65534


def columns(line: str) -> int:
    """Return the columns of a terminal that a line takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def all_files(directory: Path) -> list[tuple[str, int, float]]:
    """Return the paths, modes and modification times of all that is below a directory."""
    found = [(str(path), path.lstat()) for path in directory.rglob("*")]
    return sorted((path, status.st_mode, status.st_mtime) for path, status in found)


def test_before_the_first_deployment_nothing_fails_and_nothing_is_made(app: App) -> None:
    before = all_files(app.directory)
    document = app.cli.json("check")
    assert document["ok"] is True
    assert {finding["level"] for finding in document["findings"]} == {"ok", "warn"}
    assert [finding["fix"] is None for finding in document["findings"]] == [
        finding["level"] == "ok" for finding in document["findings"]
    ]
    assert [set(finding) for finding in document["findings"]] == [
        {"check", "repo", "level", "message", "fix"} for _ in document["findings"]
    ]
    assert about(document, "live", "app")[0]["message"] == (
        "nothing is live yet; deployctl deploy app begins"
    )
    assert about(document, "remote", "app") == [
        {
            "level": "ok",
            "message": f"{app.upstream.url}: main is at {app.upstream.head[:12]}",
            "fix": None,
        }
    ]
    assert all_files(app.directory) == before
    assert not app.state.exists()


def test_what_is_live_is_checked_and_not_changed(app: App) -> None:
    revision = app.release("1")["revision"]
    before = all_files(app.directory)
    document = app.cli.json("check", "app")
    assert about(document, "live", "app")[0]["message"] == f"{revision[:12]} is live"
    (health,) = about(document, "health", "app")
    assert health["level"] == "ok"
    assert health["message"].startswith("the command succeeded (1 try in ")
    assert about(document, "database") == [
        {"level": "ok", "message": f"{app.state}/deployctl.db is whole", "fix": None}
    ]
    assert all_files(app.directory) == before


def test_a_health_check_that_fails_now_is_tried_once_and_a_warning(app: App) -> None:
    app.release("1")
    tries = app.directory / "tries"
    app.configure(healthcheck={"command": f"echo x >>{tries}; exit 3", "deadline": "5m"})
    document = app.cli.json("check")
    (health,) = about(document, "health", "app")
    assert health["level"] == "warn"
    assert health["message"].startswith("the command failed: exit code 3 (1 try in ")
    assert health["fix"] == f"run the command of healthcheck by hand, in {app.path}/current"
    assert tries.read_text() == "x\n"


def test_the_command_of_a_health_check_has_the_environment_of_a_deployment(app: App) -> None:
    environment = app.directory / "environment"
    echo = 'echo "$DEPLOYCTL_REPO $DEPLOYCTL_REVISION $DEPLOYCTL_RELEASE $WORD $TOKEN $CI $PWD"'
    app.configure(
        healthcheck={"command": f"{echo} >{environment}"},
        env={"WORD": "hi"},
        secrets={"TOKEN": "t0ken"},
    )
    live = app.release("1")
    environment.unlink()
    app.cli.json("check")
    directory = app.path / "releases" / live["release"]
    assert environment.read_text().split() == [
        *("app", live["revision"], live["release"], "hi", "t0ken", "true", str(directory))
    ]


def test_each_complaint_about_the_config_is_a_finding(app: App) -> None:
    app.cli.config.write_text("repos:\n  app: {brnach: x, path: /srv/app}\n")
    app.cli.config.chmod(0o600)
    document = app.cli.json("check", code=1)
    assert document == {
        "ok": False,
        "findings": [
            {
                "check": "config",
                "repo": None,
                "level": "fail",
                "message": f"{app.cli.config}:2: repos.app{what}",
                "fix": f"edit {app.cli.config}, line 2",
            }
            for what in (
                ": missing key url: where git fetches from",
                ".brnach: unknown key, did you mean branch?",
            )
        ],
    }
    assert app.cli("check", "app").code == 1


def test_a_missing_config_is_a_finding(app: App) -> None:
    app.cli.config.unlink()
    (finding,) = app.cli.json("check", code=1)["findings"]
    assert (finding["check"], finding["level"]) == ("config", "fail")
    assert finding["message"] == f"--config {app.cli.config}: No such file or directory"
    assert finding["fix"] == "name a repos.yml that exists"


def test_an_unknown_repo_is_wrong_usage(app: App) -> None:
    done = app.cli("check", "appp")
    assert (done.code, done.stdout) == (2, "")
    assert done.error == f"no repo appp in {app.cli.config}, did you mean app? (there are: app)"
    assert app.cli.json("check", "appp", code=2)["error"]["code"] == 2


def test_check_of_one_repo_or_of_all(app: App) -> None:
    url = app.upstream.url
    app.write({"one": {"url": url}, "two": {"url": url}})
    findings = app.cli.json("check")["findings"]
    assert {finding["repo"] for finding in findings} == {None, "one", "two"}
    of_two = app.cli.json("check", "two")["findings"]
    of_others = [finding for finding in findings if finding["repo"] != "one"]
    assert list(map(without_numbers, of_two)) == list(map(without_numbers, of_others))


def without_numbers(finding: dict[str, Any]) -> dict[str, Any]:
    """Return a finding without the digits in its message: the free space is another each time."""
    return {**finding, "message": re.sub(r"\d", "", finding["message"])}


def test_each_finding_is_a_line_with_the_fix_below_and_the_last_line_has_the_counts(
    app: App,
) -> None:
    app.configure(branch="gone", webhook_secret="file:gone.secret", full_name="you/app")
    done = app.cli("check")
    assert done.code == 1
    lines = done.stdout.splitlines()
    index = lines.index(f"FAIL  remote       app: {app.upstream.url} has no branch gone")
    assert lines[index + 1] == "      push it, or set branch of app in repos.yml"
    index = lines.index(
        f"FAIL  secrets      app: cannot read the secret file {app.directory}/gone.secret: "
        "No such file or directory"
    )
    assert lines[index + 1] == "      create it, readable by this account"
    marks = [line.split()[0] for line in lines if not line.startswith(" ")][:-1]
    failed, warned = marks.count("FAIL"), marks.count("warn")
    assert set(marks) == {"ok", "warn", "FAIL"}
    assert lines[-1] == f"{failed} to mend, {warned} to think about, {marks.count('ok')} fine"


def test_the_output_fits_a_narrow_terminal(app: App) -> None:
    app.configure(branch="gone", path=str(app.directory / ("部署" * 30)))
    for width in (60, 120):
        shown = app.cli.on_terminal("check", columns=width)
        assert max(map(columns, shown.splitlines())) <= width
    assert "push it, or set branch of app in repos.yml" in shown


def test_control_characters_in_a_file_name_are_escaped(app: App) -> None:
    app.cli.config = app.cli.config.rename(app.directory / "re\x1b[2Jpos\u202e.yml")
    done = app.cli("check")
    assert done.code == 0
    assert "re\\x1b[2Jpos\\u202e.yml: 1 repo" in done.stdout
    assert not {"\x1b", "\u202e"} & set(done.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_state_directory_of_another_account_is_a_failure_and_not_examined(app: App) -> None:
    app.release("1")
    os.chown(app.state, NOBODY, NOBODY)
    name = pwd.getpwuid(NOBODY).pw_name
    document = app.cli.json("check", code=1)
    assert {finding["check"] for finding in document["findings"]} == {"config", "account"}
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert about(document, "account") == [
        {
            "level": "fail",
            "message": (
                f"{app.state} belongs to {name} and this is {me}; nothing else was looked at"
            ),
            "fix": f"sudo -u {name} {shlex.join(app.cli.argv('check', '--json'))}",
        }
    ]


def failing(error: Exception) -> Any:
    """Return a check that yields one finding and then raises an error."""

    def check() -> Iterator[Finding]:
        yield ok("it", "so far")
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "message", "fix"),
    [
        (GitError("cannot ask: no: route; buy a cable"), "cannot ask: no: route", "buy a cable"),
        (GitError("cannot ask x: no route"), "cannot ask x: no route", None),
        (LayoutError("it is full: empty it"), "it is full", "empty it"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied", None),
        (sqlite3.OperationalError("database is locked"), "database is locked", None),
        (
            KeyError("x"),
            "the check itself broke: KeyError: 'x'",
            "report this as a bug in deployctl",
        ),
    ],
    ids=["git", "git without advice", "deployctl", "system", "sqlite", "bug"],
)
def test_an_exception_in_a_check_is_a_finding(
    error: Exception, message: str, fix: str | None
) -> None:
    assert findings_of("it", "app", failing(error)) == [
        Finding("it", "ok", "so far", None, "app"),
        Finding("it", "fail", message, fix, "app"),
    ]


def test_an_exception_in_a_check_does_not_hide_the_others(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_config: Config) -> Iterator[Finding]:
        raise RuntimeError("oh")

    usual = {finding.check for finding in examine.examine(str(app.cli.config), None)}
    checks = [(name, broken) for name, _ in examine._MACHINE_CHECKS]
    monkeypatch.setattr(examine, "_MACHINE_CHECKS", checks)
    found = examine.examine(str(app.cli.config), None)
    assert {finding.check for finding in found} == usual
    broke = [finding for finding in found if finding.message.endswith("RuntimeError: oh")]
    assert [finding.check for finding in broke] == [name for name, _ in checks]
