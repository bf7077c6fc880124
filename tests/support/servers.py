"""Start servers on loopback, stop them, and send them requests."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping

# Where servers are: the system's, and those that tests/run only unpacks, as Debian cannot have
# both inetd and xinetd installed.
PROGRAMS = ("/usr/sbin", f"{sys.prefix}/unpacked/usr/sbin")


class Response:
    """An HTTP response; its header names are in lower case."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body


def send_request(
    address: tuple[str, int],
    method: str,
    path: str,
    body: bytes | Iterable[bytes] = b"",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Send one request over a new connection and return the response.

    A body that is no ``bytes`` is sent chunked.
    """
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Response(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def installed_program(program: str) -> str:
    """Return the path of a program; fail where it is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PROGRAMS])
    found = shutil.which(program, path=path)
    assert found, f"{program} is missing: bash tests/run"
    return found


def free_port(address: str = "127.0.0.1") -> int:
    """Return a TCP port that is free now; another program may take it at any time."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def wait_for_start(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until ``ready`` returns true, at most 20 seconds.

    Raise ChildProcessError where the process ends or is not ready in time.
    """
    deadline = time.monotonic() + 20
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise ChildProcessError(f"{process.args!r} did not start")
        time.sleep(0.01)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group: the children of some servers outlive their first process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=10)
