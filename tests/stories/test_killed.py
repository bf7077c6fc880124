"""The process that runs a deployment is killed in a stage: the next ``run`` finishes the work."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import App
from tests.support.cli import finish
from tests.support.workers import wait_until

BEGUN = "SELECT 1 FROM stages WHERE deployment = ? AND name = ?"
STAGES = ["fetch", "prepare", "build", "switch", "restart", "healthcheck", "rollback"]
# The other stages of a repo with releases: tests/deploy/test_recover.py.
CASES = [
    *(("releases", stage) for stage in STAGES if stage not in {"build", "restart", "rollback"}),
    *(("in_place", stage) for stage in STAGES),
]


def slow(wait: Path) -> dict[str, Any]:
    """Return keys of a repo whose steps wait while the file ``wait`` names a stage.

    The step that waits belongs to that stage, or is the next one after it.
    """
    going_back = f"{{ grep -qs rollback {wait} && grep -q 1 version; }}"
    conditions = {
        "build": f"grep -Eqs 'fetch|prepare|build' {wait}",
        "restart": f"grep -Eqs 'switch|restart' {wait} || {going_back}",
        "healthcheck": f"grep -qs healthcheck {wait}",
    }
    steps = {name: f"while {test}; do sleep 0.02; done" for name, test in conditions.items()}
    healthy = f"{steps['healthcheck']}; ! grep bad version"
    return {
        "stages": [{"name": "build", "run": steps["build"]}],
        "restart": steps["restart"],
        "healthcheck": {"command": healthy, "deadline": 2, "interval": 1, "stable_for": 0},
    }


@pytest.mark.parametrize(("strategy", "stage"), CASES)
def test_a_deployment_killed_in_any_stage_is_finished_by_the_next_run(
    app: App, strategy: str, stage: str
) -> None:
    wait = app.directory / "wait"
    app.configure(strategy=strategy, **slow(wait))
    app.release("1")
    bad = stage == "rollback"
    wanted = app.push("bad" if bad else "2")
    wait.write_text(stage)
    _kill_in(app, stage)
    wait.unlink()

    ran = app.cli.json("run")["deployments"]
    status = "rolled_back" if bad else "succeeded"
    assert [(done["number"], done["status"], done["revision"]) for done in ran] == [
        (2, status, wanted)
    ]
    assert app.live == ("1" if bad else "2")
    assert app.status["running"] is None
    assert app.status["queued"] == []
    assert app.cli.json("run") == {"deployments": []}


def _kill_in(app: App, stage: str) -> None:
    """Deploy, and kill the process as soon as the record says that this stage has begun."""
    runner = app.cli.start("deploy", "app")
    with contextlib.closing(sqlite3.connect(app.state / "deployctl.db", timeout=30)) as db:
        wait_until(lambda: bool(db.execute(BEGUN, (2, stage)).fetchone()))
    runner.kill()
    assert finish(runner).code == -9
