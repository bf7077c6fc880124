"""``deployctl check``: what it looks at, what it says, how it ends, and that it changes nothing."""

from __future__ import annotations

import os
import pwd
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
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


def everything(directory: Path) -> list[tuple[str, int, float]]:
    """All files below, with their modes and when they or their entries changed."""
    found = [(str(place), place.lstat()) for place in directory.rglob("*")]
    return sorted((place, status.st_mode, status.st_mtime) for place, status in found)


def test_before_the_first_deployment_all_is_well_and_nothing_is_made(app: App) -> None:
    before = everything(app.directory)
    document = app.cli.json("check")
    assert document["ok"] is True
    assert {each["level"] for each in document["findings"]} == {"ok", "warn"}
    assert [each["fix"] is None for each in document["findings"]] == [
        each["level"] == "ok" for each in document["findings"]
    ]
    assert [set(each) for each in document["findings"]] == [
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
    assert everything(app.directory) == before
    assert not app.state.exists()


def test_what_is_deployed_is_looked_at_and_not_touched(app: App) -> None:
    revision = app.release("1")["revision"]
    before = everything(app.directory)
    document = app.cli.json("check", "app")
    assert about(document, "live", "app")[0]["message"] == f"{revision[:12]} is live"
    (health,) = about(document, "health", "app")
    assert health["level"] == "ok"
    assert health["message"].startswith("the command succeeded (1 try in ")
    assert about(document, "database") == [
        {"level": "ok", "message": f"{app.state}/deployctl.db is whole", "fix": None}
    ]
    assert everything(app.directory) == before


def test_a_health_check_that_fails_now_is_asked_once_and_warned_of(app: App) -> None:
    app.release("1")
    tries = app.directory / "tries"
    app.configure(healthcheck={"command": f"echo x >>{tries}; exit 3", "deadline": "5m"})
    document = app.cli.json("check")
    (health,) = about(document, "health", "app")
    assert health["level"] == "warn"
    assert health["message"].startswith("the command failed: exit code 3 (1 try in ")
    assert health["fix"] == f"run the command of healthcheck by hand, in {app.path}/current"
    assert tries.read_text() == "x\n"


def test_a_command_that_checks_health_sees_what_it_sees_in_a_deployment(app: App) -> None:
    seen = app.directory / "seen"
    wanted = 'echo "$DEPLOYCTL_REPO $DEPLOYCTL_REVISION $DEPLOYCTL_RELEASE $WORD $TOKEN $CI $PWD"'
    app.configure(
        healthcheck={"command": f"{wanted} >{seen}"}, env={"WORD": "hi"}, secrets={"TOKEN": "t0ken"}
    )
    live = app.release("1")
    seen.unlink()
    app.cli.json("check")
    place = app.path / "releases" / live["release"]
    assert seen.read_text().split() == [
        *("app", live["revision"], live["release"], "hi", "t0ken", "true", str(place))
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


def test_a_config_that_is_not_there_is_a_finding(app: App) -> None:
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


def test_one_repo_or_all_of_them(app: App) -> None:
    url = app.upstream.url
    app.write({"one": {"url": url}, "two": {"url": url}})
    every = app.cli.json("check")["findings"]
    assert {each["repo"] for each in every} == {None, "one", "two"}
    of_two = app.cli.json("check", "two")["findings"]
    assert of_two == [each for each in every if each["repo"] != "one"]


def test_a_person_reads_a_line_for_each_finding_the_fix_below_and_the_sum_last(app: App) -> None:
    app.configure(branch="gone", webhook_secret="file:gone.secret", full_name="you/app")
    done = app.cli("check")
    assert done.code == 1
    lines = done.stdout.splitlines()
    place = lines.index(f"FAIL  remote       app: {app.upstream.url} has no branch gone")
    assert lines[place + 1] == "      push it, or set branch of app in repos.yml"
    place = lines.index(
        f"FAIL  secrets      app: cannot read the secret file {app.directory}/gone.secret: "
        "No such file or directory"
    )
    assert lines[place + 1] == "      create it, readable by this account"
    marks = [line.split()[0] for line in lines if not line.startswith(" ")][:-1]
    failed, warned = marks.count("FAIL"), marks.count("warn")
    assert set(marks) == {"ok", "warn", "FAIL"}
    assert lines[-1] == f"{failed} to mend, {warned} to think about, {marks.count('ok')} fine"


def test_it_fits_a_narrow_terminal(app: App) -> None:
    app.configure(branch="gone", path=str(app.directory / ("部署" * 30)))
    for wide in (60, 120):
        shown = app.cli.on_terminal("check", columns=wide)
        assert max(map(columns, shown.splitlines())) <= wide
    assert "push it, or set branch of app in repos.yml" in shown


def test_what_comes_from_elsewhere_moves_no_cursor(app: App) -> None:
    app.cli.config = app.cli.config.rename(app.directory / "re\x1b[2Jpos\u202e.yml")
    done = app.cli("check")
    assert done.code == 0
    assert "re\\x1b[2Jpos\\u202e.yml: 1 repo" in done.stdout
    assert not {"\x1b", "\u202e"} & set(done.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_state_of_another_account_is_that_accounts_to_look_at(app: App) -> None:
    app.release("1")
    os.chown(app.state, NOBODY, NOBODY)
    name = pwd.getpwuid(NOBODY).pw_name
    document = app.cli.json("check", code=1)
    assert {each["check"] for each in document["findings"]} == {"config", "account"}
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
    def look() -> Iterator[Finding]:
        yield ok("it", "so far")
        raise error

    return look


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
    ids=["git", "git without advice", "ours", "the system's", "sqlite", "a bug"],
)
def test_a_check_that_blows_up_is_a_finding(
    error: Exception, message: str, fix: str | None
) -> None:
    assert findings_of("it", "app", failing(error)) == [
        Finding("it", "ok", "so far", None, "app"),
        Finding("it", "fail", message, fix, "app"),
    ]


def test_a_check_that_blows_up_does_not_hide_the_others(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_config: Config) -> Iterator[Finding]:
        raise RuntimeError("oh")

    usual = {finding.check for finding in examine.examine(str(app.cli.config), None)}
    checks = [(name, broken) for name, _ in examine._OF_THE_MACHINE]
    monkeypatch.setattr(examine, "_OF_THE_MACHINE", checks)
    found = examine.examine(str(app.cli.config), None)
    assert {finding.check for finding in found} == usual
    broke = [finding for finding in found if finding.message.endswith("RuntimeError: oh")]
    assert [finding.check for finding in broke] == [name for name, _ in checks]
