"""What the servers that tests start on loopback have in common."""

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

# The system's own, and those that tests/run only unpacks, as they exclude each other.
PROGRAMS = ("/usr/sbin", f"{sys.prefix}/unpacked/usr/sbin")


class Response:
    """What the client got; header names in lower case."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body


def exchange(
    address: tuple[str, int],
    method: str,
    path: str,
    body: bytes | Iterable[bytes] = b"",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One request over a connection of its own; an iterable body is sent chunked."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Response(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def installed(program: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), *PROGRAMS])
    found = shutil.which(program, path=path)
    assert found, f"{program} is missing: bash tests/run"
    return found


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it is ready; ChildProcessError where the process ended instead."""
    deadline = time.monotonic() + 20
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise ChildProcessError(f"{process.args!r} did not start")
        time.sleep(0.01)


def stop(process: subprocess.Popen[bytes]) -> None:
    """The whole group: the children of some servers outlive their first process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=10)
