"""Deployments that wait, are interrupted or cancelled: the old release is live at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.system.environment import current_account
from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.cli import (
    Done,
    Gate,
    finish,
    is_running,
    let_time_pass,
    processes_called,
    wait_for_end,
)
from tests.support.queue import enqueue
from tests.support.upstream import Upstream
from tests.support.workers import wait_until

Process = subprocess.Popen[bytes]


class Building(App):
    """An app whose build waits at a gate until the test opens it."""

    gate: Gate

    def build(self, *words: str, **options: Any) -> Process:
        """Start ``deployctl deploy`` and return its process once the build waits at the gate."""
        self.gate.close()
        process = self.cli.start("deploy", "app", *words, **options)
        self.pid = self.gate.wait()
        return process

    def block_builds(self, **keys: Any) -> None:
        """Configure the build to wait at the gate."""
        self.configure(stages=[{"name": "build", "run": self.gate.command}], **keys)


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Iterator[Building]:
    building = Building(tmp_path, upstream, write_config)
    building.gate = Gate(tmp_path)
    building.release("1")
    building.block_builds()
    building.push("2")
    yield building
    building.gate.open()


def finish_unchanged(app: Building, process: Process) -> Done:
    """Wait for the command; assert that its step has ended and the old release is live."""
    done = finish(process)
    wait_for_end(app.pid)
    assert app.live == "1"
    assert [path.name[:2] for path in (app.path / "releases").iterdir()] == ["1-"]
    return done


def test_no_wait_exits_with_75_and_names_the_running_deployment(app: Building) -> None:
    process = app.build()
    done = app.cli("deploy", "app", "--no-wait")
    assert (done.code, done.error) == (
        75,
        "another deployment is running (app #2); try again later, or leave out --no-wait",
    )
    assert app.cli("deploy", "app", "--no-wait", "--json").json["error"]["code"] == 75
    assert app.cli.count() == 2
    app.gate.open()
    assert finish(process).code == 0


def test_a_deployment_waits_for_the_one_before_it(app: Building) -> None:
    first = app.build()
    second = app.cli.start("deploy", "app")
    assert second.stdout is not None
    assert second.stdout.readline() == b"app #3: waiting: app #2 runs\n"
    let_time_pass(0.2)
    assert second.poll() is None
    app.gate.open()
    assert finish(first).code == 0
    done = finish(second)
    assert done.code == 0
    assert done.stdout.startswith("app #3: deploy refs/heads/main (cli, asked by ")


def test_a_command_whose_deployment_is_superseded_follows_the_newer_one(app: Building) -> None:
    first = app.build()
    waiting = app.cli.start("deploy", "app", "--json")
    app.cli.wait_for(3, "queued")
    app.push("bad")
    assert enqueue(app) == 4
    app.gate.open()
    assert finish(first).code == 0
    done = finish(waiting)
    assert done.code == 3
    assert (done.json["number"], done.json["status"]) == (4, "rolled_back")
    assert "#3 was superseded by #4: waiting for that\n" in done.stderr
    assert "==> healthcheck" in done.stderr
    superseded = app.cli.json("show", "3")
    assert (superseded["status"], superseded["started_at"]) == ("superseded", None)
    assert superseded["reason"] == "a newer request, #4, took its place"


@pytest.mark.parametrize("group", [True, False], ids=["group", "process"])
def test_ctrl_c_in_a_stage_leaves_the_old_release_live(app: Building, group: bool) -> None:
    process = app.build()
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    done = finish_unchanged(app, process)
    assert (done.code, done.stderr.strip()) == (130, "deployctl: interrupted")
    live = app.status["live"]["revision"][:12]
    end = f"app #2: cancelled; {live} is live (interrupted (Ctrl-C))\n"
    assert done.stdout.endswith(end)
    document = app.cli.json("show", "2")
    assert (document["status"], document["reason"]) == ("cancelled", "interrupted (Ctrl-C)")
    assert document["stages"][-1]["status"] == "cancelled"
    app.gate.open()
    assert app.deploy()["status"] == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_end_a_deployment_like_ctrl_c(
    app: Building, number: signal.Signals
) -> None:
    process = app.build("--json")
    process.send_signal(number)
    done = finish_unchanged(app, process)
    assert (done.code, done.json) == (130, {"error": {"code": 130, "message": "interrupted"}})
    assert app.cli.json("show", "2")["reason"] == f"interrupted ({number.name})"


# Place in the pipeline -> keys of repos.yml with which the deployment waits there at the gate.
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a stage": lambda gate: {"stages": [{"name": "build", "run": gate}]},
    "a second step": lambda gate: {"stages": [{"name": "build", "run": ["echo one", gate]}]},
    "restart": lambda gate: {"restart": f"grep 1 version || {{ {gate}; }}", "stages": []},
    "healthcheck": lambda gate: {
        "healthcheck": {"command": f"grep 1 version || {{ {gate}; }}", "deadline": "60s"},
        "stages": [],
    },
    "rollback restart": lambda gate: {
        "restart": f"if grep 1 version && [ ! -e ../../once ]; then touch ../../once; {gate}; fi",
        "healthcheck": {"command": "grep 1 version", "deadline": 2, "interval": 1, "stable_for": 0},
        "stages": [],
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_a_cancel_at_any_place_makes_the_old_release_live_again(app: Building, place: str) -> None:
    app.configure(**PLACES[place](app.gate.command))
    process = app.build()
    assert app.cli("cancel", "2").code == 0
    assert finish_unchanged(app, process).code == 1
    document = app.cli.json("show", "2")
    assert (document["status"], document["reason"]) == (
        "cancelled",
        f"cancelled by {current_account().user}",
    )


def test_a_fetch_that_hangs_can_be_cancelled(app: Building) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        app.configure(url=f"ssh://127.0.0.1:{port}/app")
        process = app.cli.start("deploy", "app")
        with silent.accept()[0]:
            assert processes_called(str(port))
            assert app.cli("cancel", "2").code == 0
            assert finish(process).code == 1
            assert processes_called(str(port)) == []
    assert app.live == "1"


def test_a_health_check_that_hangs_can_be_cancelled(app: Building) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        app.configure(healthcheck={"url": url, "deadline": "60s", "timeout": "60s"}, stages=[])
        process = app.cli.start("deploy", "app")
        with server.accept()[0]:
            assert app.live == "2"
            process.send_signal(signal.SIGTERM)
            with server.accept()[0] as check_of_old_release:
                check_of_old_release.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            assert finish(process).code == 130
    assert app.live == "1"
    assert app.cli.json("show", "2")["status"] == "cancelled"


def test_nohup_lets_a_deployment_outlive_its_terminal(app: Building) -> None:
    process = app.build(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    let_time_pass(0.2)
    app.gate.open()
    assert finish(process).code == 0
    assert app.live == "2"


def test_an_interruption_after_the_switch_makes_the_old_release_live_again(app: Building) -> None:
    app.configure(
        restart=f"cat version >> ../../restarts; grep 1 version || {{ {app.gate.command}; }}"
    )
    process = app.build()
    assert app.live == "2"
    process.send_signal(signal.SIGTERM)
    assert finish_unchanged(app, process).code == 130
    assert (app.path / "restarts").read_text() == "2\n1\n"
    assert app.cli.json("show", "2")["status"] == "cancelled"


def test_a_waiting_command_that_is_interrupted_leaves_nothing_in_the_queue(app: Building) -> None:
    first = app.build()
    second = app.cli.start("deploy", "app")
    app.cli.wait_for(3, "queued")
    second.send_signal(signal.SIGINT)
    assert finish(second).code == 130
    document = app.cli.json("show", "3")
    assert (document["status"], document["reason"]) == (
        "cancelled",
        "who asked for it did not wait",
    )
    app.gate.open()
    assert finish(first).code == 0


def test_a_step_that_ignores_the_signal_is_killed(app: Building) -> None:
    app.configure(stages=[{"name": "build", "run": f"trap '' TERM INT; {app.gate.command}"}])
    process = app.build()
    process.send_signal(signal.SIGINT)
    assert finish_unchanged(app, process).code == 130


def test_a_deployment_whose_process_was_killed_can_be_cancelled(app: Building) -> None:
    process = app.build()
    process.kill()
    finish(process)
    done = app.cli("cancel", "2")
    assert (done.code, done.stdout) == (
        0,
        f"app #2: cancelled (cancelled by {current_account().user})\n",
    )
    wait_until(lambda: not is_running(app.pid))
    assert app.live == "1"


SIGNALLED_BEFORE_THE_RECORD = """
import os, signal, sys
from deployctl.__main__ import main
from deployctl.deploy import execute

conclude = execute.conclude

def conclude_after_a_signal(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return conclude(*arguments)

execute.conclude = conclude_after_a_signal
main()
"""


def test_a_signal_between_the_end_and_its_record_loses_no_success(app: Building) -> None:
    app.configure()
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_BEFORE_THE_RECORD, *app.cli.argv("deploy", "app")[3:]],
        check=False,
        env=app.cli.env,
        capture_output=True,
    )
    assert done.returncode == 0, done
    assert app.cli.json("show", "2")["status"] == "succeeded"
    assert app.live == "2"
