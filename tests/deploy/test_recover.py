"""Tests of recovery: the process of a deployment is killed, and the next run undoes its work."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployctl.store import queue
from deployctl.store.database import Database
from deployctl.system.process_tree import identity
from tests.conftest import WriteConfig
from tests.support.cli import Cli, is_running, kill
from tests.support.upstream import Upstream, git
from tests.support.workers import wait_until

STAGES = [{"name": "build", "run": "if [ -e ../../../wait.build ]; then sleep 60; fi"}]
RESTART = "cat version >> ../../restarts; if [ -e ../../../wait.restart ]; then sleep 60; fi"
HEALTH = {"command": "! grep -q bad version", "deadline": 2, "interval": 1, "stable_for": 0}


class Machine:
    """A configured repo whose step STEP hangs while a file ``wait.STEP`` exists."""

    def __init__(self, directory: Path, config: Path) -> None:
        self.directory = directory
        self.config = config
        self.cli = Cli(directory, config)

    def command(self, *words: str) -> list[str]:
        return self.cli.argv(*words)

    def deployctl(self, *words: str) -> Any:
        return self.cli(*words, "--json").json

    def kill_in(self, step: str, *words: str) -> None:
        """Run a command and kill it with SIGKILL while this step hangs, as the OOM killer does."""
        wait = self.directory / f"wait.{step}"
        wait.touch()
        before = set(self.sleepers())
        runner = subprocess.Popen(
            self.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: bool(set(self.sleepers()) - before))
        runner.kill()
        runner.wait()
        wait.unlink()

    def sleepers(self) -> list[int]:
        """The pids of the hanging steps of this machine, and of no other test."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                cwd = os.readlink(f"/proc/{name}/cwd")
                argv = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if cwd.startswith(f"{self.directory}/") and argv.startswith(b"sleep\x0060"):
                found.append(int(name))
        return found

    @property
    def live(self) -> str:
        return (self.directory / "app" / "current" / "version").read_text().strip()

    def newest(self) -> dict[str, Any]:
        found: dict[str, Any] = self.deployctl("history", "-n", "1")["deployments"][0]
        return found


@pytest.fixture
def machine(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Machine:
    repo = {"url": upstream.url, "stages": STAGES, "restart": RESTART, "healthcheck": HEALTH}
    upstream.commit({"version": "1\n"})
    machine = Machine(tmp_path, write_config({"app": repo}))
    assert machine.deployctl("deploy", "app")["status"] == "succeeded"
    upstream.commit({"version": "2\n"})
    return machine


def test_after_a_kill_during_the_build_the_next_run_cleans_up_and_deploys(
    machine: Machine,
) -> None:
    machine.kill_in("build", "deploy", "app")
    assert machine.live == "1"
    assert len(machine.sleepers()) == 1

    ran = machine.deployctl("run")["deployments"]
    assert [(found["number"], found["status"]) for found in ran] == [(2, "succeeded")]
    assert ran[0]["reason"] == "its process died; it runs again (attempt 2 of 3)"
    assert machine.live == "2"
    assert machine.sleepers() == []
    assert len(os.listdir(machine.directory / "app" / "releases")) == 2
    assert [stage["status"] for stage in ran[0]["stages"]] == ["succeeded"] * 6


def test_after_a_kill_in_restart_the_old_release_is_restarted_and_the_new_one_deployed_again(
    machine: Machine,
) -> None:
    machine.kill_in("restart", "deploy", "app")
    assert machine.live == "2"
    ran = machine.deployctl("run")["deployments"]
    assert ran[0]["status"] == "succeeded"
    assert machine.live == "2"
    # The first deployment, the killed attempt, the recovery, the second attempt.
    assert (machine.directory / "app" / "restarts").read_text() == "1\n2\n1\n2\n"


def test_after_a_kill_during_an_automatic_rollback_the_next_run_rolls_back(
    machine: Machine, upstream: Upstream
) -> None:
    bad = upstream.commit({"version": "bad\n"})
    runner = subprocess.Popen(machine.command("deploy", "app"), stdout=subprocess.DEVNULL)
    wait_until(lambda: "2\n" in _restarts(machine) or "bad\n" in _restarts(machine))
    (machine.directory / "wait.restart").touch()
    wait_until(lambda: bool(machine.sleepers()))
    runner.kill()
    runner.wait()
    (machine.directory / "wait.restart").unlink()

    machine.deployctl("run")
    newest = machine.newest()
    assert (newest["status"], newest["revision"]) == ("rolled_back", bad)
    assert machine.live == "1"


def test_after_a_kill_while_a_rollback_builds_the_next_run_cleans_up_and_builds_again(
    machine: Machine,
) -> None:
    machine.deployctl("deploy", "app")
    (first,) = (machine.directory / "app" / "releases").glob("1-*")
    shutil.rmtree(first)
    machine.kill_in("build", "rollback", "app", "--to", "1")
    assert machine.live == "2"
    (ended,) = machine.deployctl("run")["deployments"]
    assert (ended["number"], ended["status"], ended["rollback_of"]) == (3, "succeeded", 2)
    assert (machine.live, ended["release"]) == ("1", first.name)
    assert len(os.listdir(machine.directory / "app" / "releases")) == 2


def test_a_deployment_whose_process_died_three_times_fails(machine: Machine) -> None:
    machine.kill_in("build", "deploy", "app")
    machine.kill_in("build", "run")
    machine.kill_in("build", "run")
    assert machine.deployctl("run") == {"deployments": []}
    newest = machine.newest()
    assert (newest["status"], newest["reason"]) == ("failed", "its process died 3 times")
    assert newest["failure"]["stage"] == "worker"
    assert newest["failure"]["message"] == "its process died 3 times"
    assert machine.live == "1"
    assert machine.sleepers() == []


def test_a_newer_deployment_supersedes_one_that_recovery_queued_again(
    machine: Machine, upstream: Upstream
) -> None:
    machine.kill_in("build", "deploy", "app")
    newest = upstream.commit({"version": "3\n"})
    with Database(str(machine.directory / "state")) as db, db.writing() as connection:
        queue.enqueue(connection, repo="app", trigger="webhook", actor="ada", now=1.0)
    (ended,) = machine.deployctl("run")["deployments"]
    assert (ended["number"], ended["status"], ended["revision"]) == (3, "succeeded", newest)
    before = machine.deployctl("show", "2")
    assert (before["status"], before["reason"]) == (
        "superseded",
        "a newer request, #3, took its place",
    )


def test_a_second_run_after_recovery_changes_nothing(machine: Machine) -> None:
    machine.kill_in("build", "deploy", "app")
    machine.deployctl("run")
    before = _files(machine.directory)
    assert machine.deployctl("run") == {"deployments": []}
    assert _files(machine.directory) == before


def test_in_place_recovery_checks_out_the_previous_commit(
    tmp_path: Path, upstream: Upstream, write_config: WriteConfig
) -> None:
    stages = [{"name": "build", "run": "if [ -e ../wait.build ]; then sleep 60; fi"}]
    first = upstream.commit({"version": "1\n"})
    repo = {"url": upstream.url, "strategy": "in_place", "stages": stages}
    machine = Machine(tmp_path, write_config({"app": repo}))
    machine.deployctl("deploy", "app")
    upstream.commit({"version": "2\n"})
    machine.kill_in("build", "deploy", "app")
    (tmp_path / "wait.build").touch()
    runner = subprocess.Popen(machine.command("run"))
    # The next run restores the checkout before it starts the second attempt.
    wait_until(lambda: machine.deployctl("show", "2")["reason"] is not None)
    wait_until(lambda: bool(machine.sleepers()))
    runner.send_signal(signal.SIGTERM)
    runner.wait(timeout=30)
    assert git(tmp_path / "app", "rev-parse", "HEAD") == first
    assert machine.newest()["status"] == "cancelled"


def test_sigterm_ends_the_step_and_restores_the_previous_release(machine: Machine) -> None:
    (machine.directory / "wait.restart").touch()
    runner = subprocess.Popen(
        machine.command("deploy", "app"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_until(lambda: bool(machine.sleepers()))
    (machine.directory / "wait.restart").unlink()
    runner.send_signal(signal.SIGTERM)
    _, errors = runner.communicate(timeout=30)
    assert (runner.returncode, errors) == (130, b"deployctl: interrupted\n")
    newest = machine.newest()
    assert (newest["status"], newest["reason"]) == ("cancelled", "interrupted (SIGTERM)")
    assert machine.live == "1"
    assert machine.sleepers() == []


def _restarts(machine: Machine) -> str:
    path = machine.directory / "app" / "restarts"
    return path.read_text() if path.exists() else ""


def _files(directory: Path) -> dict[str, tuple[int, float]]:
    """Every file with its inode number and modification time."""
    time.sleep(0.02)
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime)
        for path in directory.rglob("*")
        if "/locks/" not in str(path)
    }


@pytest.mark.parametrize("restart_succeeds", [True, False])
def test_cancel_after_the_process_died_is_degraded_only_if_the_restart_fails(
    machine: Machine,
    write_config: WriteConfig,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    restart_succeeds: bool,
) -> None:
    """The restart needs a secret that only the cancelling command has in its environment."""
    restart = f"""{RESTART}; printf %s "$TOKEN" > ../../token; test "$(cat version)" != 1"""
    repo = {"url": upstream.url, "restart": restart, "secrets": {"TOKEN": "env:TOKEN"}}
    if restart_succeeds:
        repo["restart"] = restart.rpartition(";")[0]
    write_config({"app": repo})
    monkeypatch.setenv("TOKEN", "opensesame")
    machine.cli.env["TOKEN"] = "opensesame"
    machine.kill_in("restart", "deploy", "app")
    (machine.directory / "app" / "token").unlink(missing_ok=True)

    ended = machine.deployctl("cancel", "2")
    by = f"cancelled by {ended['actor']}"
    assert machine.live == "1"
    assert (machine.directory / "app" / "token").read_text() == "opensesame"
    if restart_succeeds:
        assert (ended["status"], ended["reason"]) == ("cancelled", by)
    else:
        assert ended["status"] == "degraded"
        assert ended["reason"].startswith(f"{by}; going back failed: ")


def test_a_deployment_whose_process_died_and_that_cannot_be_undone_is_degraded(
    machine: Machine,
) -> None:
    machine.kill_in("restart", "deploy", "app")
    for release in (machine.directory / "app" / "releases").glob("1-*"):
        shutil.rmtree(release)
    machine.deployctl("run")
    newest = machine.newest()
    assert newest["status"] == "degraded"
    assert newest["reason"].startswith("its process died; going back failed: ")
    assert newest["failure"]["message"] == newest["reason"]


def test_recovery_does_not_end_the_daemon_that_a_finished_restart_started(
    machine: Machine,
) -> None:
    """The process is killed in the health check, after its restart has finished."""
    daemon = machine.directory / "daemon"
    config = yaml.safe_load(machine.config.read_text())
    config["repos"]["app"]["restart"] = f"setsid sleep 300 & echo $! >> {daemon}"
    config["repos"]["app"]["healthcheck"] = {
        "command": f"if [ -e {machine.directory}/wait.health ]; then sleep 60; fi",
        "timeout": 100,
        "deadline": 100,
    }
    machine.config.write_text(yaml.safe_dump(config))
    machine.kill_in("health", "deploy", "app")
    started = [int(line) for line in daemon.read_text().splitlines()]
    try:
        machine.deployctl("run")
        restarted = [int(line) for line in daemon.read_text().splitlines()]
        assert machine.sleepers() == []
        assert [is_running(pid) for pid in restarted] == [True, True, True]
    finally:
        for pid in {*started, *restarted}:
            kill(pid)


def test_after_a_reboot_no_process_with_a_recorded_pid_is_signalled(
    machine: Machine, tmp_path: Path
) -> None:
    """Another process has the recorded pid and start time now, but of another boot."""
    machine.kill_in("build", "deploy", "app")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        wait_until(lambda: Path(f"/proc/{stranger.pid}/comm").read_text() == "sleep\n")
        runner = {**dataclasses.asdict(identity(stranger.pid)), "boot_id": "another"}
        with sqlite3.connect(tmp_path / "state" / "deployctl.db") as db:
            db.execute("UPDATE deployments SET runner = ? WHERE number = 2", (json.dumps(runner),))
        machine.deployctl("cancel", "2")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert (machine.newest()["status"], machine.live) == ("cancelled", "1")
