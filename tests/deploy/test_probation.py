"""Tests of probation: checks after a release went live, and the rollback if one fails."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployctl.store import probations
from deployctl.store.database import Database
from deployctl.system.clock import Instant
from deployctl.values.deployment import Failure
from tests.support.app import App
from tests.support.bark import bark
from tests.support.cli import Gate, finish, wait_for_end
from tests.support.failing_server import failing_server

QUICK = {"deadline": 2, "interval": 1}


@pytest.fixture
def unhealthy(app: App) -> Path:
    """A file with the names of versions, one a line: their health check fails while it exists."""
    file = app.directory / "sick"
    app.configure(**_keys(file))
    return file


def _keys(unhealthy: Path, **keys: Any) -> dict[str, Any]:
    """Return the keys of the repo: probation, and a health check that obeys the file."""
    command = f"cat version; ! grep -qsf {unhealthy} version"
    return {"probation": "10m", "healthcheck": {"command": command, **QUICK}, **keys}


def _release(app: App, *versions: str) -> list[str]:
    """Deploy good versions, one after the other, and return their revisions."""
    return [app.release(version)["revision"] for version in versions]


def _run(app: App) -> list[dict[str, Any]]:
    ran: list[dict[str, Any]] = app.cli.json("run")["deployments"]
    return ran


def _health_finding(app: App) -> dict[str, Any]:
    findings: list[dict[str, Any]] = app.cli.json("check", "app")["findings"]
    (health,) = (finding for finding in findings if finding["check"] == "health")
    return health


def _without_numbers(text: str) -> str:
    """Replace durations and numbers of tries: ``(3.1s after it ...)`` by ``(... after it ...)``."""
    text = re.sub(r"\([^)]* after it went live\)", "(... after it went live)", text)
    return re.sub(r"\(\d+ (try|tries) in [^)]*\)", "(... tries)", text)


def test_a_failure_in_probation_is_rolled_back_once_and_sent_to_the_channel(
    app: App, unhealthy: Path
) -> None:
    with bark() as phone:
        app.configure(
            {"channels": {"phone": phone.url()}},
            **_keys(unhealthy, notify=[{"phone": {"on": ["rolled_back", "recovered"]}}]),
        )
        first, second = _release(app, "1", "2")
        done = app.cli("run")
        assert (done.code, done.stdout, done.stderr) == (0, "", "")
        unhealthy.write_text("2\n")
        (ended,) = _run(app)
        assert app.live == "1"
        assert _run(app) == []
        unhealthy.unlink()
        app.release("3")
        notices = app.cli.json("notices")["notices"]
    assert len(phone.posts) == 2
    assert (ended["task"], ended["trigger"], ended["actor"]) == ("rollback", "auto", "deployctl")
    assert (ended["status"], ended["number"], ended["rollback_of"]) == ("succeeded", 3, 2)
    assert (ended["revision"], ended["previous_revision"]) == (first, second)
    message = "the command failed: exit code 1 (... tries)"
    reason = f"in probation of #2 (... after it went live): {message}"
    assert _without_numbers(ended["reason"]) == reason
    failure = ended["failure"]
    assert (failure["stage"], failure["exit_code"], failure["tail"]) == ("probation", 1, "2")
    log = _without_numbers(app.cli("logs", "3").stdout)
    assert f"==> probation\n{reason}\n2\n<== probation: failed" in log
    assert "asked by deployctl" in log
    recovered, rolled_back = notices
    assert (recovered["event"], rolled_back["event"]) == ("recovered", "rolled_back")
    assert rolled_back["title"] == f"app: rolled back to {first[:7]} by deployctl"
    body = _without_numbers(rolled_back["body"]).splitlines()
    assert f"failed in probation: {failure['command']}" in body
    assert reason in body
    assert body[-1] == "2"


def test_the_failed_revision_is_held_and_not_deployed_again(app: App, unhealthy: Path) -> None:
    first, second = _release(app, "1", "2")
    unhealthy.write_text("2\n")
    _run(app)
    assert app.status["hold"]["revision"] == second
    assert app.cli.json("sync") == {"deployments": []}
    assert app.live == "1"
    # The first release is on probation itself now, and there is no release before it.
    assert app.status["probation"]["deployment"] == 3
    unhealthy.write_text("1\n2\n")
    shown = app.cli("run").stdout
    assert _without_numbers(shown) == (
        "app: in probation of #3 (... after it went live): the command failed: exit code 1 "
        "(... tries); there is no earlier good release to go back to\n"
    )
    assert app.cli("run").stdout == ""
    assert (app.live, app.cli.count()) == ("1", 3)
    assert app.status["live"]["revision"] == first


def test_status_and_the_log_say_until_when_probation_lasts(app: App, unhealthy: Path) -> None:
    app.push("1")
    shown = app.cli("deploy", "app").stdout.splitlines()[-1]
    assert shown.startswith("app #1: on probation until ")
    assert shown.endswith("; deployctl run and sync, from cron or a timer, keep checking it")
    probation = app.status["probation"]
    assert (probation["deployment"], probation["failure"]) == (1, None)
    assert 500 < probation["left"] <= 600
    (line,) = (line for line in app.cli("status").stdout.splitlines() if "probation" in line)
    assert line.startswith("  probation until ")
    assert line.endswith(" left)")
    app.cli("status", "--page", "public")
    assert "On probation until " in (app.directory / "public" / "index.html").read_text()
    app.configure()
    assert app.status["probation"] is None


def test_check_warns_of_probation_without_a_health_check(app: App) -> None:
    app.configure(probation="10m", healthcheck=None)
    app.release("1")
    assert app.status["probation"] is None
    health = _health_finding(app)
    assert (health["level"], health["message"], health["fix"]) == (
        "warn",
        "probation is set, and what is live has no health check that could fail",
        "add healthcheck to app in repos.yml, and deploy it",
    )


def test_a_single_failed_try_is_no_failure(app: App, unhealthy: Path) -> None:
    """The first try fails and all later ones succeed."""
    once = app.directory / "once"
    flaky = {"command": f"! rm {once} 2>/dev/null", "deadline": 5, "interval": 0.05}
    app.configure(probation="10m", healthcheck=flaky)
    _release(app, "1", "2")
    once.touch()
    done = app.cli("run")
    assert (done.stdout, done.stderr) == ("", "")
    assert not once.exists()
    assert (app.live, app.status["probation"]["failure"]) == ("2", None)


@pytest.mark.parametrize("strategy", ["releases", "in_place"])
def test_probation_checks_with_the_configuration_of_the_release(
    app: App, unhealthy: Path, strategy: str
) -> None:
    """Its own environment, secrets and pipeline file, and not what repos.yml says now."""
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
        f'echo "with $TOKEN"; test ! -e {unhealthy}'
    )
    project = {"healthcheck": {"command": command, **QUICK}}
    for version in "12":
        app.upstream.commit({".deployctl.yml": json.dumps(project), "version": f"{version}\n"})
        app.deploy()
    app.configure(**keys, env={"COLOUR": "red"})
    app.cli("run")
    assert (app.directory / "said").read_text() == "blue a-secret-token 2 auto\n"
    unhealthy.touch()
    health = _health_finding(app)
    assert health["message"].startswith("the command failed: exit code 1")
    (ended,) = _run(app)
    assert (ended["failure"]["message"][:18], ended["failure"]["tail"]) == (
        "the command failed",
        "with [hidden]",
    )


def test_the_body_of_a_failed_answer_is_the_tail_of_the_failure(app: App, unhealthy: Path) -> None:
    with failing_server(lambda _: "the pool is empty") as port:
        url = f"http://127.0.0.1:{port}/"
        app.configure(probation="10m", healthcheck={"url": url, "status": 500, **QUICK})
        _release(app, "1")
        wanted = {"url": url, "status": 200, **QUICK}
        app.configure(probation="10m", auto_rollback=False, healthcheck=wanted)
        shown = app.cli("run").stdout
    assert _without_numbers(shown) == (
        f"app: in probation of #1 (... after it went live): GET {url} answered 500, wanted 200 "
        "(... tries); auto_rollback is off: the failed release stays live\n"
    )
    assert app.status["probation"]["failure"]["tail"] == "the pool is empty"


def test_without_auto_rollback_one_notice_reports_the_failure_and_one_the_recovery(
    app: App, unhealthy: Path
) -> None:
    with bark() as phone:
        top = {"channels": {"phone": phone.url()}}
        app.configure(top, **_keys(unhealthy, notify=["phone"], auto_rollback=False))
        _, second = _release(app, "1", "2")
        for bad in (True, True, False, False, True, False):
            if bad:
                unhealthy.write_text("2\n")
            else:
                unhealthy.unlink(missing_ok=True)
            assert app.cli("run").code == 0
    assert (app.live, app.cli.count()) == ("2", 2)
    notices = app.cli.json("notices")["notices"]
    assert [(notice["event"], notice["title"]) for notice in notices[:2]] == [
        ("recovered", f"app: works again ({second[:7]})"),
        ("degraded", "app: DEGRADED, needs you"),
    ]
    assert len(notices) == 4
    assert len(phone.posts) == 4


def test_a_locked_repo_is_reported_once_and_rolled_back_after_unlock(
    app: App, unhealthy: Path
) -> None:
    _release(app, "1", "2")
    app.cli("lock", "app", "-m", "holidays")
    unhealthy.write_text("2\n")
    app.configure({"status_page": str(app.directory / "public")}, **_keys(unhealthy))
    assert app.cli("run").stdout.count("\n") == 1
    page = (app.directory / "public" / "index.html").read_text()
    assert "Failed on probation: the command failed: exit code 1" in page
    assert app.cli("run").stdout == ""
    assert app.live == "2"
    assert "is locked by" in app.status["probation"]["reason"]
    (line,) = (line for line in app.cli("status").stdout.splitlines() if "FAILED" in line)
    assert "; FAILED: the command failed: exit code 1 (" in line
    app.cli("unlock", "app")
    app.cli("run")
    assert app.live == "1"


def test_a_newer_deployment_replaces_the_probation(app: App, unhealthy: Path) -> None:
    _release(app, "1", "2")
    unhealthy.write_text("2\n")
    app.push("3")
    assert [found["status"] for found in app.cli.json("sync")["deployments"]] == ["succeeded"]
    assert (app.live, app.status["probation"]["deployment"]) == ("3", 3)
    app.push("")
    app.deploy(code=1)  # version 3 stays live and on probation
    assert app.status["probation"]["deployment"] == 3


def test_probation_ends_after_its_time_and_when_its_key_is_removed(
    app: App, unhealthy: Path
) -> None:
    app.configure(**_keys(unhealthy, probation=0.01))
    _release(app, "1", "2")
    unhealthy.write_text("2\n")
    assert _run(app) == []
    assert (app.live, app.status["probation"]) == ("2", None)
    unhealthy.unlink()
    app.configure(**_keys(unhealthy))
    app.release("3")
    unhealthy.write_text("3\n")
    app.configure(healthcheck=_keys(unhealthy)["healthcheck"])
    assert _run(app) == []
    app.configure(**_keys(unhealthy))
    assert _run(app) == []
    assert app.live == "3"


def test_a_rollback_that_fails_is_followed_by_one_that_goes_further_back(
    app: App, unhealthy: Path
) -> None:
    _release(app, "0", "1", "2")
    unhealthy.write_text("1\n2\n")
    assert [ended["status"] for ended in _run(app)] == ["degraded", "succeeded"]
    assert app.live == "0"


def test_a_rollback_that_fails_is_not_tried_again(app: App, unhealthy: Path) -> None:
    """If all releases fail, the fault is the machine's: more rollbacks would not help."""
    _release(app, "1", "2")
    unhealthy.write_text("1\n2\n")
    (ended,) = _run(app)
    assert (ended["status"], app.live) == ("degraded", "2")
    assert _run(app) == []
    assert app.status["probation"]["rollback"] == 3
    assert app.cli("status").stdout.count("FAILED") == 1
    unhealthy.unlink()
    app.release("3")
    assert app.status["probation"]["failure"] is None


def test_a_killed_check_leaves_no_process_and_no_failure(app: App, unhealthy: Path) -> None:
    gate = Gate(app.directory)
    still = f"if [ -e {unhealthy} ]; then {gate.command}; exit 1; fi"
    app.configure(probation="10m", healthcheck={"command": still, "timeout": 60, **QUICK})
    _release(app, "1", "2")
    unhealthy.touch()
    runner = app.cli.start("run")
    pid = gate.wait()
    assert app.cli("run").stdout == ""  # the first worker holds the lock file
    runner.kill()
    finish(runner)
    unhealthy.unlink()
    app.push("3")
    app.deploy()
    wait_for_end(pid)
    assert app.status["probation"]["failure"] is None
    assert app.cli.count() == 3


def test_a_rollback_that_is_killed_or_interrupted_runs_again(app: App, unhealthy: Path) -> None:
    gate = Gate(app.directory)
    restart = f"if [ -e {unhealthy} ] && grep -q 1 version; then {gate.command}; fi"
    app.configure(**_keys(unhealthy, restart=restart))
    _release(app, "1", "2")
    unhealthy.write_text("2\n")
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


def test_a_rollback_that_a_person_cancels_does_not_run_again(app: App, unhealthy: Path) -> None:
    gate = Gate(app.directory)
    restart = f"if [ -e {unhealthy} ] && grep -q 1 version; then {gate.command}; fi"
    app.configure(**_keys(unhealthy, restart=restart))
    _release(app, "1", "2")
    unhealthy.write_text("2\n")
    runner = app.cli.start("run")
    gate.wait()
    assert app.cli("cancel", "3").code == 0
    finish(runner)
    assert _run(app) == []
    assert (app.live, app.cli.json("show", "3")["status"]) == ("2", "cancelled")
    assert app.status["probation"]["rollback"] == 3


def test_probation_begins_again_if_the_clock_was_set_back_across_a_reboot(
    app: App, unhealthy: Path
) -> None:
    _release(app, "1")
    with sqlite3.connect(app.state / "deployctl.db") as db:
        db.execute("UPDATE probations SET boot = 'another', since = since + 1e8")
    assert app.cli("run").stdout == ""
    with sqlite3.connect(app.state / "deployctl.db") as db:
        ((boot,),) = db.execute("SELECT boot FROM probations")
    assert boot != "another"
    assert app.status["probation"]["left"] <= 600


def test_an_instant_measures_elapsed_time_although_the_clock_was_set() -> None:
    begun = Instant(wall=1000.0, boot="a", clock=50.0)
    assert begun.seconds_until(Instant(wall=-9e8, boot="a", clock=80.0)) == 30.0
    assert begun.seconds_until(Instant(wall=9e8, boot="a", clock=80.0)) == 30.0
    assert begun.seconds_until(Instant(wall=1200.0, boot="b", clock=10.0)) == 200.0
    behind = Instant(wall=900.0, boot="b", clock=10.0)
    assert begun.seconds_until(behind) == 0.0
    assert begun.is_ahead_of(behind)
    assert not begun.is_ahead_of(Instant(wall=900.0, boot="a", clock=60.0))


def test_an_automatic_rollback_is_refused_if_the_failed_deployment_is_not_live(
    app: App, unhealthy: Path
) -> None:
    _release(app, "1", "2", "3")
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
    assert ended["reason"] == "#2, which this rollback was to undo, is not live"


def test_a_worker_that_gets_sigterm_ends_its_check(app: App, unhealthy: Path) -> None:
    gate = Gate(app.directory)
    app.configure(probation="10m", healthcheck={"command": "true"})
    _release(app, "1")
    app.configure(probation="10m", healthcheck={"command": gate.command, "timeout": 60})
    runner = app.cli.start("run")
    pid = gate.wait()
    runner.send_signal(signal.SIGTERM)
    assert finish(runner).code == 130
    wait_for_end(pid)
