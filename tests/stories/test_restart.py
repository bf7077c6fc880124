"""A restart step restarts nginx and fcgiwrap, through which the webhook came."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import App
from tests.support.cli import is_running
from tests.support.deliveries import SECRET, headers, push
from tests.support.nginx import WebServer
from tests.support.servers import installed_program
from tests.support.systemd import Cgroup, PathUnit, cgroup
from tests.support.workers import wait_until

__all__ = ["cgroup"]

# Stop both servers and start new ones in the background, as an operator's own script would do.
RESTART = """
cd {directory}
old="$(cat fcgiwrap.pid nginx.pid || true)"
{stop}
for pid in $old; do
    while grep -q '^State:.[^Z]' /proc/$pid/status 2>/dev/null; do sleep 0.02; done
done
rm -f {socket}
setsid {fcgiwrap} -f -c 4 -s unix:{socket} </dev/null >/dev/null 2>&1 &
echo $! >fcgiwrap.pid
setsid {nginx} -p {directory} -c {directory}/nginx.conf </dev/null >/dev/null 2>&1 &
wait_for() {{ for _ in $(seq 500); do [ ! -e $1 ] || return 0; sleep 0.02; done; return 1; }}
wait_for {socket}
wait_for nginx.pid
echo again >>restarts
"""


class Servers:
    """nginx and fcgiwrap, and the script that restarts them."""

    def __init__(self, app: App, start: Callable[..., WebServer]) -> None:
        self.script = app.directory / "restart.sh"
        repo: dict[str, Any] = {"id": 1296269, "webhook_secret": SECRET}
        self.web = start(app.configure(**repo, restart=f"sh -eu {self.script}"))
        self.directory = self.web.directory
        (self.directory / "fcgiwrap.pid").write_text(f"{self.web.fcgiwrap.pid}\n")
        self.write_script()

    def write_script(self, stop: str = "for pid in $old; do kill -TERM -$pid; done") -> None:
        """Write the restart script; ``stop`` are its lines that end the old servers."""
        self.script.write_text(
            RESTART.format(
                directory=shlex.quote(str(self.directory)),
                stop=stop,
                socket=f"{self.web.sockets}/fcgi",
                fcgiwrap=installed_program("fcgiwrap"),
                nginx=installed_program("nginx"),
            )
        )

    def deliver(self, revision: str, number: str) -> int:
        """Deliver a push of this revision; return the number of its deployment."""
        body = json.dumps(push(after=revision)).encode()
        answer = self.web.request("POST", "/deploy.cgi", body, headers(body, number=number))
        assert answer.status == 202, answer.body
        return int(json.loads(answer.body)["deployment"])

    def restarts(self) -> int:
        """Return how often the script ran to its end."""
        return len((self.directory / "restarts").read_text().split())

    def stop(self) -> None:
        """End the servers that the step started; the fixture ends the first two."""
        first = (self.web.fcgiwrap.pid, self.web.nginx.pid)
        for name in ("nginx", "fcgiwrap"):
            try:
                pid = int((self.directory / f"{name}.pid").read_text())
            except (OSError, ValueError):
                continue
            if pid not in first and is_running(pid):
                os.killpg(pid, signal.SIGTERM)  # fcgiwrap alone would leave its children
                wait_until(lambda pid=pid: not is_running(pid))  # type: ignore[misc]


@pytest.fixture
def servers(app: App, web_server: Callable[..., WebServer]) -> Iterator[Servers]:
    made = Servers(app, web_server)
    yield made
    made.stop()


def setup_systemd(app: App) -> str:
    return app.cli("setup", "systemd").stdout


def test_a_deployment_survives_the_restart_of_both_servers_and_the_new_ones_serve_the_next_push(
    app: App, servers: Servers
) -> None:
    old = (servers.web.fcgiwrap, servers.web.nginx)
    for number, version in enumerate(("1", "2"), 1):
        assert servers.deliver(app.push(version), f"d-{version}") == number
        assert app.cli.wait_for(number)["status"] == "succeeded"
        assert [process.poll() is not None for process in old] == [True, True]
    assert servers.restarts() == 2
    assert (app.path / "current" / "version").read_text() == "2\n"


def test_a_worker_started_by_the_path_unit_survives_the_end_of_the_fcgiwrap_service(
    app: App, servers: Servers, cgroup: Cgroup
) -> None:
    """The restart step kills all processes in the cgroup of fcgiwrap, as systemd does.

    :class:`PathUnit` stands in for systemd's path unit, and a script for systemd-run. So this shows
    that no process of the worker is in the cgroup of fcgiwrap, and not what systemd itself does.
    """
    for process in (servers.web.fcgiwrap.pid, *children(servers.web.fcgiwrap.pid)):
        cgroup.move_in(process)
    servers.write_script(
        f"for pid in $old; do kill -TERM -$pid || true; done; echo 1 >{cgroup.kill}"
    )
    with PathUnit(app.directory, setup_systemd(app)):
        assert servers.deliver(app.push("1"), "d-1") == 1
        assert app.cli.wait_for(1)["status"] == "succeeded"
    assert servers.restarts() == 1
    assert servers.web.fcgiwrap.poll() is not None


def test_a_worker_started_by_the_fcgiwrap_service_ends_with_it_and_the_next_run_finishes(
    app: App, servers: Servers, cgroup: Cgroup
) -> None:
    for process in (servers.web.fcgiwrap.pid, *children(servers.web.fcgiwrap.pid)):
        cgroup.move_in(process)
    servers.write_script(
        f"for pid in $old; do kill -TERM -$pid || true; done; echo 1 >{cgroup.kill}"
    )
    assert servers.deliver(app.push("1"), "d-1") == 1
    wait_until(lambda: servers.web.fcgiwrap.poll() is not None)
    assert app.cli.json("show", "1")["status"] == "running"
    assert not (servers.directory / "restarts").exists()
    assert app.cli("run").code == 0
    assert app.cli.json("show", "1")["status"] == "succeeded"
    assert servers.restarts() == 1


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
