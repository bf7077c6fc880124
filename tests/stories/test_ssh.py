"""A deployment that was started over ssh: a dropped connection does not end it, a signal does."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.cli import Gate, finish, is_running, wait_for_end
from tests.support.sshd import Sshd, sshd
from tests.support.upstream import Upstream
from tests.support.workers import wait_until

TERMINAL = ("-tt",)


class Remote(App):
    """An app that is deployed over ssh; its build waits at a gate, then prints 3000 lines.

    ``step`` and ``runner`` are process ids: of the build, and of the deployctl that runs it.
    """

    gate: Gate
    server: Sshd

    def deploy_over_ssh(self, *options: str, quiet: bool = False) -> subprocess.Popen[bytes]:
        """Start ``deployctl deploy app`` over ssh and wait until its build has reached the gate.

        ``options`` are those of ssh(1). ``quiet``: a shell starts deployctl with its streams
        redirected, so that deployctl does not hold the terminal open.
        """
        self.gate.close()
        environment = [f"{name}={value}" for name, value in self.cli.env.items()]
        words = ["env", *environment, *self.cli.argv("deploy", "app")]
        if quiet:
            words = ["sh", "-c", '"$@" </dev/null >/dev/null 2>&1; exit $?', "sh", *words]
        client = self.server.start(words, *options)
        self.step = self.gate.wait()
        self.runner = int(_stat(self.step)[1])
        return client


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Iterator[Remote]:
    made = Remote(tmp_path, upstream, write_config)
    made.release("1")
    made.gate = Gate(tmp_path)
    print_lines = "i=0; while [ $i -lt 3000 ]; do echo a line of many $i; i=$((i + 1)); done"
    made.configure(stages=[{"name": "build", "run": [made.gate.command, print_lines]}])
    made.push("2")
    with sshd(tmp_path / "sshd") as made.server:
        yield made
        made.gate.open()


def _stat(pid: int) -> list[str]:
    """Return fields of proc_pid_stat(5): state, parent, group, session, terminal and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@pytest.mark.parametrize(
    ("options", "quiet"),
    [(TERMINAL, False), (TERMINAL, True), ((), False)],
    ids=["terminal", "terminal, redirected", "pipes"],
)
def test_a_dropped_connection_does_not_stop_the_deployment(
    app: Remote, options: tuple[str, ...], quiet: bool
) -> None:
    client = app.deploy_over_ssh(*options, quiet=quiet)
    assert (_stat(app.runner)[4] != "0") == bool(options)
    parent = int(_stat(app.runner)[1])
    client.kill()
    client.communicate()
    if options:
        wait_until(lambda: _stat(app.runner)[4] == "0")
    else:
        wait_until(lambda: not is_running(parent))
    app.gate.open()
    document = app.cli.wait_for(2)
    assert (document["status"], document["reason"]) == ("succeeded", None)
    assert app.live == "2"
    assert app.cli("logs", "2").stdout.count("\na line of many") == 3000
    wait_until(lambda: not is_running(app.runner))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("options", [TERMINAL, ()], ids=["terminal", "pipes"])
def test_a_signal_ends_the_deployment_while_the_connection_is_open(
    app: Remote, options: tuple[str, ...], number: signal.Signals
) -> None:
    client = app.deploy_over_ssh(*options)
    os.kill(app.runner, number)
    done = finish(client)
    assert done.code == 130
    assert f" is live (interrupted ({number.name}))" in done.stdout
    document = app.cli.json("show", "2")
    assert (document["status"], document["reason"]) == (
        "cancelled",
        f"interrupted ({number.name})",
    )
    wait_for_end(app.step)
    assert app.live == "1"


def test_it_can_be_cancelled_after_the_connection_dropped(app: Remote) -> None:
    app.deploy_over_ssh(*TERMINAL).kill()
    wait_until(lambda: _stat(app.runner)[4] == "0")
    assert app.cli("cancel", "2").code == 0
    wait_for_end(app.step)
    assert (app.cli.json("show", "2")["status"], app.live) == ("cancelled", "1")
