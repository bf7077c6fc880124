"""Requests that wait while a deployment runs: which one is next, and with which repos.yml."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from deployctl.deploy import worker
from deployctl.store import queue
from deployctl.store.database import Database
from tests.support.app import USUAL, App
from tests.support.cli import Gate, finish
from tests.support.queue import enqueue
from tests.support.upstream import git


def build_at_the_gate(app: App, gate: Gate) -> None:
    """Let the next deployments of the app wait at the gate."""
    app.configure(stages=[{"name": "build", "run": gate.command}])
    gate.close()


def deploy_at_the_gate(app: App, gate: Gate, version: str) -> subprocess.Popen[bytes]:
    """Push a version and start its deployment; return once its build waits at the gate."""
    build_at_the_gate(app, gate)
    app.push(version)
    running = app.cli.start("deploy", "app")
    gate.wait()
    return running


def test_a_rollback_that_waits_is_not_superseded_by_pushes_and_goes_first(
    app: App, gate: Gate
) -> None:
    app.release("1")
    running = deploy_at_the_gate(app, gate, "2")
    pushed = enqueue(app)
    rolling = app.cli.start("rollback", "app", "--json")
    app.cli.wait_for(4, "queued")
    newer = enqueue(app)
    gate.open()
    assert finish(running).code == 0
    done = finish(rolling)
    assert (done.code, done.json["status"], done.json["rollback_of"]) == (0, "succeeded", 2)
    held = app.cli.wait_for(newer)
    reason = f"a newer request, #{newer}, took its place"
    assert app.cli.json("show", str(pushed))["reason"] == reason
    assert "is held" in held["reason"]
    assert app.live == "1"


def test_a_deployment_that_was_asked_for_by_name_is_not_superseded(app: App, gate: Gate) -> None:
    app.release("1")
    git(app.upstream.work, "push", "-q", "origin", "HEAD:refs/heads/hotfix")
    running = deploy_at_the_gate(app, gate, "2")
    named = app.cli.json("deploy", "app", "--ref", "hotfix", "--detach")["number"]
    pushed = enqueue(app)
    gate.open()
    assert finish(running).code == 0
    assert app.cli.wait_for(named)["status"] == "succeeded"
    assert app.cli.wait_for(pushed)["status"] == "succeeded"
    assert app.live == "2"


def test_two_rollbacks_at_once_are_one(app: App, gate: Gate) -> None:
    app.release("1")
    app.release("2")
    running = deploy_at_the_gate(app, gate, "3")
    rolling = [app.cli.start("rollback", "app", "--json") for _ in range(2)]
    app.cli.wait_for(4, "queued")
    gate.open()
    assert finish(running).code == 0
    assert [finish(process).json["number"] for process in rolling] == [4, 4]
    assert app.live == "2"


def test_a_rollback_of_a_deployment_that_did_not_go_live_is_refused(app: App, gate: Gate) -> None:
    app.release("1")
    app.release("2")
    running = deploy_at_the_gate(app, gate, "bad")
    rolling = app.cli.start("rollback", "app")
    app.cli.wait_for(4, "queued")
    gate.open()
    assert finish(running).code == 3
    done = finish(rolling)
    assert done.code == 5
    assert done.error == "#3, which this rollback was to undo, is not live"
    assert app.live == "2"


def test_a_plain_deployment_waits_without_using_the_processor(app: App, gate: Gate) -> None:
    running = deploy_at_the_gate(app, gate, "1")
    waiting = app.cli.start("deploy", "app")
    app.cli.wait_for(2, "queued")
    with Database(str(app.state)) as db, db.writing() as connection:
        order = queue.Order(awaits="a" * 40)
        queue.enqueue(
            connection, repo="app", trigger="webhook", actor="ada", now=time.time(), order=order
        )
    before = seconds_of(waiting.pid)
    time.sleep(1)
    assert seconds_of(waiting.pid) - before < 0.5
    gate.open()
    assert [finish(process).code for process in (running, waiting)] == [0, 0]
    assert app.cli.json("show", "2")["status"] == "succeeded"
    assert app.cli.json("show", "3")["status"] == "queued"


def seconds_of(pid: int) -> float:
    """Return how long a process has used the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_no_wait_is_refused_while_another_deployment_has_its_turn_first(app: App) -> None:
    app.push("1")
    first = enqueue(app)
    done = app.cli("deploy", "app", "--no-wait")
    assert done.code == 75
    assert done.error.startswith(f"#{first} waits for its turn; try again later")
    assert app.cli.count() == 1


def test_a_delivery_that_comes_while_surplus_releases_are_removed_is_run(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruning has the lock file of the repo, so that delivery starts no worker."""
    for version in "123":
        app.release(version)
    app.configure(keep_releases=1)
    app.push("4")
    prune = worker._prune_if_idle
    numbers: list[int] = []

    def prune_while_a_delivery_comes(*arguments: Any, **named: Any) -> None:
        prune(*arguments, **named)
        numbers.append(enqueue(app))

    monkeypatch.setattr(worker, "_prune_if_idle", prune_while_a_delivery_comes)
    (ended,) = run_here(app)
    assert numbers == [ended.number]
    assert app.live == "4"


def run_here(app: App) -> list[Any]:
    """Run the worker in this process."""
    from deployctl.config.load import load
    from deployctl.deploy.admission import Runtime
    from deployctl.output.screen import Output

    with Database(str(app.state)) as db:
        return worker.run(Runtime(load(str(app.cli.config)), db, Output()))


@pytest.mark.parametrize("how", ["a worker", "a person"])
def test_a_deployment_reads_repos_yml_when_its_turn_comes(app: App, gate: Gate, how: str) -> None:
    build_at_the_gate(app, gate)
    app.push("1")
    running = app.cli.start("run" if how == "a worker" else "deploy", *["app"][: how != "a worker"])
    if how == "a worker":
        finish(running)
        enqueue(app)
        running = app.cli.start("run")
    gate.wait()
    waiting = None if how == "a worker" else app.cli.start("deploy", "app")
    number = enqueue(app) if waiting is None else 2
    app.cli.wait_for(number, "queued")
    app.push("2")
    app.configure(stages=[{"name": "new", "run": "true"}])
    gate.open()
    for process in filter(None, (running, waiting)):
        assert finish(process).code == 0
    ended = app.cli.json("show", str(number))
    assert "new" in [stage["name"] for stage in ended["stages"]]


def test_while_repos_yml_is_wrong_nothing_begins(app: App, gate: Gate) -> None:
    running = deploy_at_the_gate(app, gate, "1")
    by_name = ("--revision", app.upstream.head)
    waiting = app.cli.start("deploy", "app", *by_name)
    app.cli.wait_for(2, "queued")
    pushed = enqueue(app)
    good = app.cli.config.read_text()
    app.cli.config.write_text(good + "brnach: x\n")
    gate.open()
    assert finish(running).code == 0
    assert finish(waiting).code == 2
    assert app.cli("run").code == 2
    assert app.cli("status").code == 2
    with Database(str(app.state)) as db:
        assert queue.waiting(db) == [(pushed, "app")]
    app.cli.config.write_text(good)
    waited = app.cli.json("show", "2")
    assert waited["status"] == "cancelled"
    assert "brnach: unknown key" in waited["reason"]
    app.cli("run")
    assert app.cli.wait_for(pushed)["status"] == "succeeded"


def test_a_rollback_to_a_release_on_disk_does_not_wait_for_builds_of_other_repos(
    app: App, gate: Gate
) -> None:
    app.release("1")
    app.release("2")
    slow = {**USUAL, "url": app.upstream.url, "stages": [{"name": "build", "run": gate.command}]}
    app.write({"app": {**USUAL, "url": app.upstream.url}, "blog": slow})
    gate.close()
    building = app.cli.start("deploy", "blog")
    gate.wait()
    assert app.cli.json("rollback", "app")["status"] == "succeeded"
    assert app.live == "1"
    gate.open()
    assert finish(building).code == 0


def test_an_error_of_one_repo_does_not_end_deploy_all(app: App) -> None:
    app.push("1")
    repo = {**USUAL, "url": app.upstream.url}
    (app.directory / "file").touch()
    app.write({"a": {**repo, "path": str(app.directory / "file" / "below")}, "b": repo})
    done = app.cli("deploy", "--all", "--json")
    assert done.code == 1
    assert [entry["repo"] for entry in done.json["deployments"]][-1] == "b"
    assert app.cli.json("status", "a")["repos"][0]["queued"] == []


def test_a_living_deployment_is_not_taken_for_dead_if_its_lock_files_are_deleted(
    app: App, gate: Gate
) -> None:
    app.release("1")
    running = deploy_at_the_gate(app, gate, "2")
    for lock in (app.state / "locks").iterdir():
        lock.unlink()
    assert app.cli("deploy", "app", "--no-wait").code == 75
    assert app.cli.json("run") == {"deployments": []}
    gate.open()
    assert finish(running).code == 0
    assert app.live == "2"
