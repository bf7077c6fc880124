"""Notices are sent beside the queue: no deployment waits for a channel."""

from __future__ import annotations

import signal
import subprocess

from deployctl.system.locks import sender_lock
from tests.support.app import USUAL, App
from tests.support.bark import Bark, bark
from tests.support.cli import Gate, finish
from tests.support.queue import enqueue
from tests.support.workers import wait_until

PHONE = {"notify": ["phone"]}


def run_while_the_phone_is_asked(
    app: App, gate: Gate, server: Bark, timeout: int
) -> subprocess.Popen[bytes]:
    """Run two deployments; return once a notice of the first is sent, while the second builds.

    ``timeout`` is that of the channel, in seconds. The second deployment waits at the gate.
    """
    repo = {"url": app.upstream.url, **USUAL}
    stages = [{"name": "build", "run": gate.command}]
    app.write(
        {"app": {**repo, **PHONE}, "other": {**repo, "stages": stages}},
        channels={"phone": {"url": server.url(), "timeout": timeout}},
    )
    app.push("1")
    enqueue(app)
    enqueue(app, "other")
    running = app.cli.start("run")
    assert server.asked.wait(30)
    gate.wait()
    return running


def test_a_channel_that_hangs_does_not_delay_the_next_deployment(app: App, gate: Gate) -> None:
    with bark("hang") as server:
        running = run_while_the_phone_is_asked(app, gate, server, timeout=60)
        assert app.cli.json("notices")["notices"][0]["channels"][0]["state"] == "waiting"
        gate.open()
        server.behaviours[:] = ["well"]
        server.stopping.set()
        assert finish(running).code == 0


def test_one_process_sends_however_many_workers_there_are(app: App, phone: Bark) -> None:
    app.configure(top={"channels": {"phone": phone.url()}}, **PHONE)
    app.push("1")
    enqueue(app)
    with sender_lock(str(app.state)):
        running = app.cli.start("run")
        app.cli.wait_for(1)
        assert not phone.asked.wait(0.5)
        assert running.poll() is None
    assert finish(running).code == 0
    assert len(phone.posts) == 1


def test_the_sender_goes_on_when_its_worker_is_killed(app: App, gate: Gate) -> None:
    with bark("late") as server:
        running = run_while_the_phone_is_asked(app, gate, server, timeout=20)
        running.send_signal(signal.SIGKILL)
        finish(running)

        def state() -> str:
            return str(app.cli.json("notices")["notices"][0]["channels"][0]["state"])

        wait_until(lambda: state() == "sent")
