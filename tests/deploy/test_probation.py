"""Probation: what went live is checked for a while longer, and left again where it fails late."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployctl.store import deployments, probations, queue
from deployctl.store.database import Database
from deployctl.system.clock import Instant
from deployctl.values.deployment import Failure
from tests.support.app import App
from tests.support.bark import bark
from tests.support.cli import Gate, finish, is_running
from tests.support.failing_server import failing_server

QUICK = {"deadline": 0.2, "interval": 0.1}


@pytest.fixture
def sick(app: App) -> Path:
    """While this file is there, the version whose name is in it is not well."""
    sick = app.directory / "sick"
    app.configure(**_watched(sick))
    return sick


def _watched(sick: Path, **keys: Any) -> dict[str, Any]:
    command = f"cat version; ! grep -qsf {sick} version"
    return {"probation": "10m", "healthcheck": {"command": command, **QUICK}, **keys}


def _released(app: App, *versions: str) -> list[str]:
    return [app.release(version)["revision"] for version in versions]


def _run(app: App) -> list[dict[str, Any]]:
    ran: list[dict[str, Any]] = app.cli.json("run")["deployments"]
    return ran


def _forget_when(text: str) -> str:
    """``(3.1s after it went live)`` -> ``(... after it went live)``; the same of tries."""
    text = re.sub(r"\([^)]* after it went live\)", "(... after it went live)", text)
    return re.sub(r"\(\d+ (try|tries) in [^)]*\)", "(... tries)", text)


def test_a_late_failure_is_rolled_back_once_and_said(app: App, sick: Path) -> None:
    with bark() as phone:
        app.configure(
            {"channels": {"phone": phone.url()}},
            **_watched(sick, notify=[{"phone": {"on": ["rolled_back", "recovered"]}}]),
        )
        first, second = _released(app, "1", "2")
        done = app.cli("run")
        assert (done.code, done.stdout, done.stderr) == (0, "", "")
        sick.write_text("2\n")
        (ended,) = _run(app)
        assert app.live == "1"
        assert _run(app) == []
        sick.unlink()
        app.release("3")
        told = app.cli.json("notices")["notices"]
    assert len(phone.posts) == 2
    assert (ended["task"], ended["trigger"], ended["actor"]) == ("rollback", "auto", "deployctl")
    assert (ended["status"], ended["number"], ended["rollback_of"]) == ("succeeded", 3, 2)
    assert (ended["revision"], ended["previous_revision"]) == (first, second)
    message = "the command failed: exit code 1 (... tries)"
    reason = f"in probation of #2 (... after it went live): {message}"
    assert _forget_when(ended["reason"]) == reason
    failure = ended["failure"]
    assert (failure["stage"], failure["exit_code"], failure["tail"]) == ("probation", 1, "2")
    log = _forget_when(app.cli("logs", "3").stdout)
    assert f"==> probation\n{reason}\n2\n<== probation: failed" in log
    assert "asked by deployctl" in log
    recovered, rolled_back = told
    assert (recovered["event"], rolled_back["event"]) == ("recovered", "rolled_back")
    assert rolled_back["title"] == f"app: rolled back to {first[:7]} by deployctl"
    body = _forget_when(rolled_back["body"]).splitlines()
    assert f"failed in probation: {failure['command']}" in body
    assert reason in body
    assert body[-1] == "2"


def test_what_was_left_is_held_and_nothing_bounces(app: App, sick: Path) -> None:
    first, second = _released(app, "1", "2")
    sick.write_text("2\n")
    _run(app)
    assert app.status["hold"]["revision"] == second
    assert app.cli.json("sync") == {"deployments": []}
    assert app.live == "1"
    # What it went back to is on probation itself, and there is nothing before it.
    assert app.status["probation"]["deployment"] == 3
    sick.write_text("1\n2\n")
    told = app.cli("run").stdout
    assert _forget_when(told) == (
        "app: in probation of #3 (... after it went live): the command failed: exit code 1 "
        "(... tries); there is no earlier good release to go back to\n"
    )
    assert app.cli("run").stdout == ""
    assert (app.live, app.cli.count()) == ("1", 3)
    assert app.status["live"]["revision"] == first


def test_status_says_how_long_it_lasts(app: App, sick: Path) -> None:
    app.push("1")
    shown = app.cli("deploy", "app").stdout.splitlines()[-1]
    assert shown.startswith("app #1: on probation until ")
    assert shown.endswith("; deployctl run and sync, from cron or a timer, keep checking it")
    probation = app.status["probation"]
    assert (probation["deployment"], probation["failure"]) == (1, None)
    assert 500 < probation["left"] <= 600
    (line,) = (each for each in app.cli("status").stdout.splitlines() if "probation" in each)
    assert line.startswith("  probation until ")
    assert line.endswith(" left)")
    app.cli("status", "--page", "public")
    assert "On probation until " in (app.directory / "public" / "index.html").read_text()
    app.configure()
    assert app.status["probation"] is None


def test_a_probation_that_nothing_could_fail_in_is_pointed_out(app: App) -> None:
    app.configure(probation="10m", healthcheck=None)
    app.release("1")
    assert app.status["probation"] is None
    (health,) = (
        each for each in app.cli.json("check", "app")["findings"] if each["check"] == "health"
    )
    assert (health["level"], health["message"], health["fix"]) == (
        "warn",
        "probation is set, and what is live has no health check that could fail",
        "add healthcheck to app in repos.yml, and deploy it",
    )


def test_one_lost_request_decides_nothing(app: App, sick: Path) -> None:
    """The first try is bad and all that come after it are good."""
    once = app.directory / "once"
    flaky = {"command": f"! rm {once} 2>/dev/null", "deadline": 5, "interval": 0.05}
    app.configure(probation="10m", healthcheck=flaky)
    _released(app, "1", "2")
    once.touch()
    done = app.cli("run")
    assert (done.stdout, done.stderr) == ("", "")
    assert not once.exists()
    assert (app.live, app.status["probation"]["failure"]) == ("2", None)


@pytest.mark.parametrize("strategy", ["releases", "in_place"])
def test_it_is_checked_with_what_it_was_built_with(app: App, sick: Path, strategy: str) -> None:
    """Its own environment, secrets and project file, and not what repos.yml says by now."""
    token = app.directory / "token"
    token.write_text("a-secret-token")
    token.chmod(0o600)
    keys: dict[str, Any] = {
        "strategy": strategy,
        "healthcheck": None,
        "stages": None,
        "pipeline_file": ".deployctl.yml",
        "probation": "10m",
        "secrets": {"TOKEN": f"file:{token}"},
    }
    app.configure(**keys, env={"COLOUR": "blue"})
    command = (
        f'echo "$COLOUR $TOKEN $DEPLOYCTL_DEPLOYMENT $DEPLOYCTL_TRIGGER" > {app.directory}/said; '
        f'echo "with $TOKEN"; test ! -e {sick}'
    )
    project = {"healthcheck": {"command": command, **QUICK}}
    for version in "12":
        app.upstream.commit({".deployctl.yml": json.dumps(project), "version": f"{version}\n"})
        app.deploy()
    app.configure(**keys, env={"COLOUR": "red"})
    app.cli("run")
    assert (app.directory / "said").read_text() == "blue a-secret-token 2 auto\n"
    sick.touch()
    (health,) = (
        each for each in app.cli.json("check", "app")["findings"] if each["check"] == "health"
    )
    assert health["message"].startswith("the command failed: exit code 1")
    (ended,) = _run(app)
    assert (ended["failure"]["message"][:18], ended["failure"]["tail"]) == (
        "the command failed",
        "with [hidden]",
    )


def test_a_url_that_answers_500_is_evidence(app: App, sick: Path) -> None:
    with failing_server(lambda _: "the pool is empty") as port:
        url = f"http://127.0.0.1:{port}/"
        app.configure(probation="10m", healthcheck={"url": url, "status": 500, **QUICK})
        _released(app, "1")
        wanted = {"url": url, "status": 200, **QUICK}
        app.configure(probation="10m", auto_rollback=False, healthcheck=wanted)
        told = app.cli("run").stdout
    assert _forget_when(told) == (
        f"app: in probation of #1 (... after it went live): GET {url} answered 500, wanted 200 "
        "(... tries); auto_rollback is off: the failed release stays live\n"
    )
    assert app.status["probation"]["failure"]["tail"] == "the pool is empty"


def test_without_auto_rollback_it_is_told_once_and_once_when_it_is_well(
    app: App, sick: Path
) -> None:
    with bark() as phone:
        top = {"channels": {"phone": phone.url()}}
        app.configure(top, **_watched(sick, notify=["phone"], auto_rollback=False))
        _, second = _released(app, "1", "2")
        for bad in (True, True, False, False, True, False):
            if bad:
                sick.write_text("2\n")
            else:
                sick.unlink(missing_ok=True)
            assert app.cli("run").code == 0
    assert (app.live, app.cli.count()) == ("2", 2)
    told = [(each["event"], each["title"]) for each in app.cli.json("notices")["notices"]]
    assert told[:2] == [
        ("recovered", f"app: works again ({second[:7]})"),
        ("degraded", "app: DEGRADED, needs you"),
    ]
    assert len(told) == 4
    assert len(phone.posts) == 4


def test_a_locked_repo_is_told_of_and_left_once_it_is_unlocked(app: App, sick: Path) -> None:
    _released(app, "1", "2")
    app.cli("lock", "app", "-m", "holidays")
    sick.write_text("2\n")
    app.configure({"status_page": str(app.directory / "public")}, **_watched(sick))
    assert app.cli("run").stdout.count("\n") == 1
    page = (app.directory / "public" / "index.html").read_text()
    assert "Failed on probation: the command failed: exit code 1" in page
    assert app.cli("run").stdout == ""
    assert app.live == "2"
    assert "is locked by" in app.status["probation"]["reason"]
    (line,) = (each for each in app.cli("status").stdout.splitlines() if "FAILED" in each)
    assert "; FAILED: the command failed: exit code 1 (" in line
    app.cli("unlock", "app")
    app.cli("run")
    assert app.live == "1"


def test_a_newer_deployment_takes_its_place(app: App, sick: Path) -> None:
    _released(app, "1", "2")
    sick.write_text("2\n")
    app.push("3")
    assert [each["status"] for each in app.cli.json("sync")["deployments"]] == ["succeeded"]
    assert (app.live, app.status["probation"]["deployment"]) == ("3", 3)
    app.push("")
    app.deploy(code=1)  # what stays live stays on probation
    assert app.status["probation"]["deployment"] == 3


def test_it_ends_with_its_time_and_with_its_key(app: App, sick: Path) -> None:
    app.configure(**_watched(sick, probation=0.01))
    _released(app, "1", "2")
    sick.write_text("2\n")
    assert _run(app) == []
    assert (app.live, app.status["probation"]) == ("2", None)
    sick.unlink()
    app.configure(**_watched(sick))
    app.release("3")
    sick.write_text("3\n")
    app.configure(healthcheck=_watched(sick)["healthcheck"])
    assert _run(app) == []
    app.configure(**_watched(sick))
    assert _run(app) == []
    assert app.live == "3"


def test_a_way_back_that_fails_is_not_tried_again(app: App, sick: Path) -> None:
    """All releases fail at once: it is the machine, and switching to and fro mends nothing."""
    _released(app, "1", "2")
    sick.write_text("1\n2\n")
    (ended,) = _run(app)
    assert (ended["status"], app.live) == ("degraded", "2")
    assert _run(app) == []
    assert app.status["probation"]["rollback"] == 3
    assert app.cli("status").stdout.count("FAILED") == 1
    sick.unlink()
    app.release("3")
    assert app.status["probation"]["failure"] is None


def test_a_check_that_is_killed_leaves_nothing_and_decides_nothing(app: App, sick: Path) -> None:
    gate = Gate(app.directory)
    still = f"if [ -e {sick} ]; then {gate.command}; exit 1; fi"
    app.configure(probation="10m", healthcheck={"command": still, "timeout": 60, **QUICK})
    _released(app, "1", "2")
    sick.touch()
    runner = app.cli.start("run")
    pid = gate.wait()
    assert app.cli("run").stdout == ""  # the other one looks after it
    runner.kill()
    finish(runner)
    sick.unlink()
    app.push("3")
    app.deploy()
    assert not is_running(pid)
    assert app.status["probation"]["failure"] is None
    assert app.cli.count() == 3


def test_a_way_back_that_is_killed_or_stopped_is_gone_to_its_end(app: App, sick: Path) -> None:
    gate = Gate(app.directory)
    restart = f"if [ -e {sick} ] && grep -q 1 version; then {gate.command}; fi"
    app.configure(**_watched(sick, restart=restart))
    _released(app, "1", "2")
    sick.write_text("2\n")
    for signum in (signal.SIGKILL, signal.SIGTERM):
        gate.close()
        runner = app.cli.start("run")
        gate.wait()
        runner.send_signal(signum)
        finish(runner)
    why = "interrupted (SIGTERM); it runs again (attempt 3 of 3)"
    assert (app.live, app.cli.json("show", "3")["reason"]) == ("2", why)
    gate.open()
    (ended,) = _run(app)
    assert (ended["number"], ended["status"], app.live) == (3, "succeeded", "1")
    assert ended["failure"]["stage"] == "probation"


def test_a_way_back_that_a_person_cancels_is_not_gone_again(app: App, sick: Path) -> None:
    gate = Gate(app.directory)
    restart = f"if [ -e {sick} ] && grep -q 1 version; then {gate.command}; fi"
    app.configure(**_watched(sick, restart=restart))
    _released(app, "1", "2")
    sick.write_text("2\n")
    runner = app.cli.start("run")
    gate.wait()
    assert app.cli("cancel", "3").code == 0
    finish(runner)
    assert _run(app) == []
    assert (app.live, app.cli.json("show", "3")["status"]) == ("2", "cancelled")
    assert app.status["probation"]["rollback"] == 3


def test_after_a_reboot_with_a_clock_that_is_behind_it_begins_again(app: App, sick: Path) -> None:
    _released(app, "1")
    with sqlite3.connect(app.state / "deployctl.db") as db:
        db.execute("UPDATE probations SET boot = 'another', since = since + 1e8")
    assert app.cli("run").stdout == ""
    with sqlite3.connect(app.state / "deployctl.db") as db:
        ((boot,),) = db.execute("SELECT boot FROM probations")
    assert boot != "another"
    assert app.status["probation"]["left"] <= 600


def test_a_moment_tells_how_long_ago_it_was_whatever_the_clock_says() -> None:
    begun = Instant(wall=1000.0, boot="a", clock=50.0)
    assert begun.until(Instant(wall=-9e8, boot="a", clock=80.0)) == 30.0
    assert begun.until(Instant(wall=9e8, boot="a", clock=80.0)) == 30.0
    assert begun.until(Instant(wall=1200.0, boot="b", clock=10.0)) == 200.0
    behind = Instant(wall=900.0, boot="b", clock=10.0)
    assert begun.until(behind) == 0.0
    assert begun.is_ahead_of(behind)
    assert not begun.is_ahead_of(Instant(wall=900.0, boot="a", clock=60.0))


def test_what_waits_for_its_checks_is_not_lost_to_a_way_back(tmp_path: Path) -> None:
    with Database(str(tmp_path / "state")) as db, db.writing() as connection:
        for trigger, wanted in (("auto", "queued"), ("cli", "superseded")):
            waiting = _enqueue(connection, "webhook", queue.Order(awaits="a" * 40))
            _enqueue(connection, trigger, queue.Order.rollback())
            found = deployments.get(db, waiting)
            assert found is not None
            assert found.status == wanted


def test_a_way_back_from_what_is_not_live_any_more_is_not_gone(app: App, sick: Path) -> None:
    _released(app, "1", "2", "3")
    with Database(str(app.state)) as db:
        probation = probations.of_repo(db, "app")
        assert probation is not None
        failure = Failure("probation", "broke")
        with db.writing() as connection:
            probations.queue_rollback(
                connection, replace(probation, deployment=2), failure, "broke", 1.0
            )
    (ended,) = _run(app)
    assert (ended["status"], app.live) == ("cancelled", "3")
    assert ended["reason"] == "what #2 brought, which this was to undo, is not live any more"


def _enqueue(connection: sqlite3.Connection, trigger: str, order: queue.Order) -> int:
    return queue.enqueue(connection, repo="app", trigger=trigger, actor="ada", now=1.0, order=order)


def test_one_that_is_told_to_end_ends_its_check(app: App, sick: Path) -> None:
    gate = Gate(app.directory)
    app.configure(probation="10m", healthcheck={"command": "true"})
    _released(app, "1")
    app.configure(probation="10m", healthcheck={"command": gate.command, "timeout": 60})
    runner = app.cli.start("run")
    pid = gate.wait()
    runner.send_signal(signal.SIGTERM)
    assert finish(runner).code == 130
    assert not is_running(pid)
