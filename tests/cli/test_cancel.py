"""``deployctl cancel``: a queued deployment is dropped, and the command that waits for it ends."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.app import App
from tests.support.cli import Gate, finish, wait_for_end
from tests.support.queue import deployed_by, enqueue


def test_a_queued_deployment_can_be_cancelled(app: App) -> None:
    number = enqueue(app)
    done = app.cli("cancel", f"#{number}")
    actor = app.status["last"]["reason"].removeprefix("cancelled by ")
    assert (done.code, done.stdout) == (0, f"app #1: cancelled (cancelled by {actor})\n")
    assert deployed_by(app, "run") == []
    assert app.refused("cancel", "1") == "#1 is over: cancelled; nothing is left to cancel"


def test_after_a_cancelled_deployment_the_next_one_runs(app: App, gate: Gate) -> None:
    app.release("1")
    app.configure(stages=[{"name": "build", "run": gate.command}])
    app.push("2")
    enqueue(app)
    worker = app.cli.start("run")
    step = gate.wait()
    enqueue(app)
    document = app.cli.json("cancel", "2")
    assert document["status"] == "cancelled"
    wait_for_end(step)
    assert app.live == "1"
    gate.open()
    assert finish(worker).code == 0
    assert app.cli.wait_for(3)["status"] == "succeeded"
    assert app.live == "2"


def test_a_waiting_command_ends_when_its_deployment_is_cancelled(app: App, gate: Gate) -> None:
    app.configure(stages=[{"name": "build", "run": gate.command}])
    process = app.cli.start("deploy", "app")
    gate.wait()
    assert app.cli("cancel", "1").code == 0
    done = finish(process)
    assert done.code == 1
    assert "app #1: cancelled; nothing is live (cancelled by " in done.stdout


def test_a_deployment_whose_process_is_stopped_can_be_cancelled(app: App, gate: Gate) -> None:
    app.release("1")
    app.configure(stages=[{"name": "build", "run": gate.command}])
    app.push("2")
    process = app.cli.start("deploy", "app")
    step = gate.wait()
    os.kill(process.pid, signal.SIGSTOP)
    app.configure()
    ended = app.cli.json("cancel", "2")
    assert (ended["status"], ended["reason"]) == ("cancelled", f"cancelled by {ended['actor']}")
    assert finish(process).code == -signal.SIGKILL
    wait_for_end(step)
    assert app.live == "1"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("7", "no deployment #7; see: deployctl history"),
        ("x", "x is not a deployment's number; see: deployctl history"),
    ],
)
def test_an_unknown_deployment_cannot_be_cancelled(app: App, number: str, message: str) -> None:
    done = app.cli("cancel", number)
    assert (done.code, done.error) == (2, message)
