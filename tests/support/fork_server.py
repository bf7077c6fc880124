"""Run deployctl in a process forked from one that has loaded its modules.

Starting an interpreter and importing the command line takes most of the time of a short command. A
forked process has its own process id, signals, files and environment as any other, so only this
time is saved. As ``python -m tests.support.fork_server FD`` this module is that server; it ends
when the other end of the socket ``FD`` is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from deployctl.__main__ import main
from tests.support.modules import import_all
from tests.support.paths import ROOT

_MESSAGE_SIZE = 128 * 1024  # bytes; the longest request, which has the environment
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}


def can_run(env: Mapping[str, str]) -> bool:
    """Tell whether a command with this environment can be forked.

    The interpreter itself reads some variables, but only when it starts.
    """
    return _interpreter_settings(env) == _interpreter_settings(ENVIRONMENT)


def run(
    words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run ``deployctl`` with these words, as ``subprocess.run`` does, and capture its output."""
    argv = [str(ROOT / "deployctl/__main__.py"), *words]
    request = {"argv": argv, "cwd": str(cwd), "env": dict(env), "umask": _umask()}
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipes = [os.pipe(), os.pipe()]
    socket.send_fds(
        _server(), [json.dumps(request).encode()], [*(write for _, write in pipes), theirs.fileno()]
    )
    theirs.close()
    for _, write in pipes:
        os.close(write)
    with mine:
        pid = int(mine.recv(_MESSAGE_SIZE))
        try:
            output = _read_all([read for read, _ in pipes], time.monotonic() + timeout)
        except TimeoutError:
            os.kill(pid, 9)
            raise subprocess.TimeoutExpired(argv, timeout) from None
        code = os.waitstatus_to_exitcode(int(mine.recv(_MESSAGE_SIZE)))
    return subprocess.CompletedProcess(argv, code, *output)


@functools.cache
def _server() -> socket.socket:
    """Start the server of this test process; return the socket that takes requests."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return mine


def _interpreter_settings(env: Mapping[str, str]) -> dict[str, str]:
    read = ("PYTHON", "LC_", "LANG")
    return {name: value for name, value in env.items() if name.startswith(read)}


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _read_all(descriptors: Sequence[int], until: float) -> list[bytes]:
    """Read all to their ends and close them; raise TimeoutError at that monotonic time."""
    output = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            events = selector.select(max(0.0, until - time.monotonic()))
            if not events:
                raise TimeoutError
            for key, _ in events:
                if not (chunk := os.read(key.fd, 65536)):
                    selector.unregister(key.fd)
                    os.close(key.fd)
                output[key.fd] += chunk
    return [output[descriptor] for descriptor in descriptors]


# ---- the server ---------------------------------------------------------------------------------


def _serve(requests: socket.socket) -> None:
    """Answer each request with a process id, then with the status that wait(2) gives.

    Return in each forked process, as soon as it has become what the request asks for.
    """
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not requests:
                pid, reply = key.data
                _, status = os.waitpid(pid, 0)
                reply.send(str(status).encode())
                selector.unregister(key.fd)
                os.close(key.fd)
                reply.close()
                continue
            message, descriptors, _, _ = socket.recv_fds(requests, _MESSAGE_SIZE, 3)
            if not message:
                os._exit(0)
            if (pid := os.fork()) == 0:
                _become(json.loads(message), *descriptors)
                return
            reply = socket.socket(fileno=descriptors.pop())
            for descriptor in descriptors:
                os.close(descriptor)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, reply))
            reply.send(str(pid).encode())


def _become(request: Mapping[str, object], stdout: int, stderr: int, reply: int) -> None:
    """Make this process what a new interpreter would be with these arguments."""
    os.setsid()
    os.close(reply)
    for descriptor, number in ((stdout, 1), (stderr, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    argv, cwd, env, umask = request["argv"], request["cwd"], request["env"], request["umask"]
    assert isinstance(argv, list)
    assert isinstance(env, dict)
    assert isinstance(umask, int)
    os.chdir(str(cwd))
    os.umask(umask)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = argv


def _main(descriptor: int) -> None:
    import_all()
    _serve(socket.socket(fileno=descriptor))
    _run_and_exit()


def _run_and_exit() -> NoReturn:
    """Run the command and exit as an interpreter does, but without freeing every object."""
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
