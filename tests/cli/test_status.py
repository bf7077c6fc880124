"""``deployctl status``: what is live, held, locked, waiting and running, and the exit code."""

from __future__ import annotations

import re
import time

from deployctl.store import queue
from deployctl.store.database import Database
from tests.support.app import App
from tests.support.cli import Gate, finish

AGE = re.compile(r"just now|[0-9.]+s ago")


def test_before_the_first_deployment_every_command_answers_and_writes_no_file(app: App) -> None:
    status = app.cli("status")
    assert status.stdout == "app\n  live      nothing yet; start with: deployctl deploy app\n"
    assert app.cli("status", "--exit-code").code == 0
    assert app.cli("history").stdout == "no deployments yet\n"
    assert app.cli.json("history") == {"deployments": []}
    done = app.cli("logs")
    assert (done.code, done.error) == (
        2,
        "nothing was ever deployed; start with: deployctl deploy REPO",
    )
    assert app.cli("logs", "app").error == (
        "app was never deployed; start with: deployctl deploy app"
    )
    assert app.cli("show", "1").error == "no deployment #1; see: deployctl history"
    assert not app.state.exists()
    assert not app.path.exists()


def test_the_document_of_a_status_has_every_field(app: App) -> None:
    assert app.cli.json("status") == {
        "repos": [
            {
                "repo": "app",
                "strategy": "releases",
                "path": str(app.path),
                "branch": "main",
                "tags": None,
                "live": None,
                "last": None,
                "running": None,
                "queued": [],
                "hold": None,
                "lock": None,
                "rollback_to": None,
                "problem": None,
                "probation": None,
            }
        ]
    }
    first, second = app.release("1"), app.release("2")
    app.push("bad")
    bad = app.deploy(code=3)
    app.cli("lock", "app", "-m", "why")
    status = app.status
    assert status["live"] == {
        "revision": second["revision"],
        "release": second["release"],
        "since": second["finished_at"],
        "deployment": 2,
        "subject": "Version 2",
        "checking": False,
        "well": True,
    }
    assert status["last"] == bad
    assert status["hold"] == {
        "revision": bad["revision"],
        "since": bad["finished_at"],
        "why": "deployment #3 rolled back from it",
    }
    assert set(status["lock"]) == {"actor", "since", "why"}
    assert status["rollback_to"] == {
        "revision": first["revision"],
        "release": first["release"],
        "deployment": 1,
    }


def test_status_shows_what_is_live_held_locked_and_waiting(app: App, gate: Gate) -> None:
    first = app.release("1")
    second = app.release("2")
    app.push("bad")
    bad = app.deploy(code=3)
    app.cli("lock", "app", "-m", "Friday")
    with Database(str(app.state)) as db, db.writing() as connection:
        queue.enqueue(connection, repo="app", trigger="webhook", actor="ada", now=time.time())
    lines = app.cli("status", "app").stdout.splitlines()
    actor = second["actor"]
    assert [AGE.sub("AGE", line) for line in lines] == [
        "app",
        f"  live      {second['revision'][:12]} Version 2 (#2, AGE)",
        AGE.sub("AGE", lines[2]),
        "  waiting   #4 deploy by ada, AGE",
        f"  held      {bad['revision'][:12]}, AGE: deployment #3 rolled back from it",
        "            push a fix, or: deployctl resume app",
        f"  locked    by {actor}, AGE: Friday",
        "            lift it with: deployctl unlock app",
        f"  rollback  would go to #1 {first['revision'][:12]}",
    ]
    assert AGE.sub("AGE", lines[2]).startswith(
        "  last      #3 rolled_back, AGE, in healthcheck: the command failed: exit code 1 ("
    )


def test_status_and_history_show_a_running_deployment(app: App, gate: Gate) -> None:
    app.configure(stages=[{"name": "build", "run": gate.command}])
    process = app.cli.start("deploy", "app")
    gate.wait()
    assert "  running   #1 deploy by " in app.cli("status").stdout
    running = app.status["running"]
    assert (running["status"], running["finished_at"], running["duration"]) == (
        "running",
        None,
        None,
    )
    assert running["stages"][-1]["status"] == "running"
    assert "#1  app  running  " in app.cli("history").stdout
    gate.open()
    assert finish(process).code == 0


def test_a_refused_deployment_is_not_shown_as_the_last_one(app: App) -> None:
    """A push of a held revision is queued if the delivery does not name the revision."""
    app.release("1")
    app.release("2")
    app.cli("rollback", "app")
    with Database(str(app.state)) as db, db.writing() as connection:
        queue.enqueue(connection, repo="app", trigger="webhook", actor="x", now=time.time())
    (refused,) = app.cli.json("run")["deployments"]
    assert (refused["status"], "is held" in refused["reason"]) == ("cancelled", True)
    assert app.status["last"]["number"] == 3
    assert app.cli("status", "--exit-code").code == 0


def test_with_exit_code_status_fails_if_the_newest_deployment_did(app: App) -> None:
    app.release("1")
    assert app.cli("status", "--exit-code").code == 0
    app.push("")
    app.deploy(code=1)
    assert app.cli("status").code == 0
    assert app.cli("status", "--exit-code").code == 1
    assert app.cli("status", "app", "--exit-code", "--json").code == 1
    app.release("2")
    assert app.cli("status", "--exit-code").code == 0
