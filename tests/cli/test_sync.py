"""``deployctl sync``: it deploys what differs from live and may be deployed by itself."""

from __future__ import annotations

import time

import pytest

from deployctl.store import checks
from deployctl.store.database import Database
from tests.support.app import USUAL, App
from tests.support.cli import Gate, finish
from tests.support.queue import deployed_by
from tests.support.workers import wait_until


def test_sync_deploys_what_differs_from_live(app: App) -> None:
    app.push("1")
    assert deployed_by(app, "sync") == [(1, "succeeded")]
    assert app.cli.json("show", "1")["trigger"] == "cron"
    assert app.live == "1"
    done = app.cli("sync")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    app.push("2")
    assert deployed_by(app, "sync", "app") == [(2, "succeeded")]


def test_sync_does_not_deploy_a_revision_that_is_held_or_failed_before(app: App) -> None:
    app.release("1")
    app.push("bad")
    assert deployed_by(app, "sync") == [(2, "rolled_back")]
    assert deployed_by(app, "sync") == []
    app.push("")
    assert deployed_by(app, "sync") == [(3, "failed")]
    assert deployed_by(app, "sync") == []
    app.push("2")
    assert deployed_by(app, "sync") == [(4, "succeeded")]


def test_sync_does_not_deploy_a_revision_that_a_person_rolled_back(app: App) -> None:
    app.release("1")
    app.release("2")
    app.cli.json("rollback", "app")
    assert deployed_by(app, "sync") == []
    assert app.live == "1"


def test_sync_reports_a_remote_that_it_cannot_reach_and_goes_on(app: App) -> None:
    app.push("1")
    gone = str(app.directory / "gone.git")
    repo = {"url": app.upstream.url, **USUAL}
    app.write({"broken": {**repo, "url": gone}, "branchless": {**repo, "branch": "x"}, "app": repo})
    done = app.cli("sync", "--json")
    assert done.code == 0, "it fails only if no remote answers, so that cron sends no mail"
    assert [entry["repo"] for entry in done.json["deployments"]] == ["app"]
    complaints = [line for line in done.stderr.splitlines() if line.startswith("deployctl: ")]
    assert len(complaints) == 2
    assert complaints[0].startswith(f"deployctl: cannot ask {gone} for refs/heads/main: ")
    assert complaints[1].startswith(f"deployctl: {app.upstream.url} has no branch x: ")
    assert app.live == "1"


def test_sync_fails_if_no_remote_can_be_reached(app: App) -> None:
    repo = {**USUAL, "url": str(app.directory / "gone.git")}
    app.write({"one": repo, "two": repo})
    done = app.cli("sync")
    assert (done.code, len(done.stderr.splitlines())) == (1, 2)
    app.write({"one": repo, "branchless": {**repo, "url": app.upstream.url, "branch": "x"}})
    assert app.cli("sync").code == 0
    assert app.cli("sync", "one").code == 1


def test_sync_deploys_a_rolled_back_revision_again_after_resume(app: App) -> None:
    app.release("1")
    app.push("bad")
    assert deployed_by(app, "sync") == [(2, "rolled_back")]
    app.cli("resume", "app")
    assert deployed_by(app, "sync") == [(3, "rolled_back")]
    assert deployed_by(app, "sync") == []


def test_sync_deploys_a_failed_revision_again_after_the_branch_has_moved(app: App) -> None:
    app.release("1")
    failed = app.push("")
    assert deployed_by(app, "sync") == [(2, "failed")]
    app.push("2")
    assert deployed_by(app, "sync") == [(3, "succeeded")]
    app.upstream.rewind(failed)
    assert deployed_by(app, "sync") == [(4, "failed")]
    assert deployed_by(app, "sync") == []
    app.deploy("--revision", app.status["live"]["revision"], "--force")
    assert deployed_by(app, "sync") == [], (
        "the branch has not moved: a person deployed another commit"
    )


def test_sync_queues_a_tip_that_differs_from_the_running_deployment(app: App, gate: Gate) -> None:
    app.release("1")
    app.configure(stages=[{"name": "build", "run": gate.command}])
    app.push("2")
    running = app.cli.start("deploy", "app")
    gate.wait()
    assert deployed_by(app, "sync") == []
    assert app.status["queued"] == [], "the running deployment has the tip"
    app.push("3")
    assert deployed_by(app, "sync") == []
    assert [entry["number"] for entry in app.status["queued"]] == [3]
    assert deployed_by(app, "sync") == []
    assert [entry["number"] for entry in app.status["queued"]] == [3], "it is queued already"
    gate.open()
    assert finish(running).code == 0
    assert app.cli.wait_for(3)["status"] == "succeeded"
    assert app.live == "3"


@pytest.mark.parametrize(
    ("state", "deployed"), [("success", [(1, "succeeded")]), ("failure", []), (None, [])]
)
def test_sync_waits_for_the_checks_of_a_repo_with_on_ci_success(
    app: App, state: str | None, deployed: list[tuple[int, str]]
) -> None:
    app.configure(on="ci_success")
    tip = app.push("1")
    if state:
        with Database(str(app.state)) as db, db.writing() as connection:
            checks.record_report(connection, "app", tip, "build", state, "1", time.time())
    assert deployed_by(app, "sync") == deployed
    assert deployed_by(app, "sync") == []
    queued = [(entry["number"], entry["revision"]) for entry in app.status["queued"]]
    assert queued == ([] if state else [(1, tip)]), "unknown yet: it waits for the checks"
    newer = app.push("2")
    assert deployed_by(app, "sync") == []
    assert [entry["revision"] for entry in app.status["queued"]] == [newer]


def test_sync_queues_nothing_while_a_rollback_runs(app: App, gate: Gate) -> None:
    """The rollback may leave the tip of the branch, which is held afterwards."""
    app.release("1")
    app.release("2")
    app.configure(restart=gate.command)
    running = app.cli.start("rollback", "app")
    gate.wait()
    assert deployed_by(app, "sync") == []
    assert app.status["queued"] == []
    gate.open()
    assert finish(running).code == 0


def test_sync_lifts_a_hold_when_the_branch_has_moved(app: App) -> None:
    first = app.release("1")
    app.push("bad")
    app.deploy(code=3)
    assert deployed_by(app, "sync") == []
    assert app.status["hold"] is not None
    app.upstream.rewind(first["revision"])
    assert deployed_by(app, "sync") == []
    assert app.status["hold"] is None


def test_what_sync_queues_waits_while_a_repo_is_locked(app: App) -> None:
    app.push("1")
    app.cli("lock", "app", "-m", "why")
    assert deployed_by(app, "sync") == []
    app.cli("unlock", "app")
    wait_until(lambda: app.live == "1")
