"""Start the worker so that nothing ties it to whoever starts it.

This module is on the webhook's way: no subprocess, which takes longer to import than this to run.
"""

from __future__ import annotations

import os
import sys

from deployctl.lock import is_taken, wake_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The variable that tells a worker of the file it inherits, and that file.
WAKE_FD = "DEPLOYCTL_WAKE_FD"
_INHERITED = 3
PACKAGE = os.path.dirname(os.path.abspath(__file__))


def start_worker(config_path: str, env_names: Iterable[str] = ()) -> bool:
    """Start ``deployctl run`` with this config, on its own -> whether that worked.

    ``env_names`` are the variables that secrets of the config name: it gets these and no other.

    Where it did not, the queue waits for the next worker: cron starts one every minute.
    """
    return spawn_detached(_run(config_path), worker_environment(env_names))


def wake_worker(config_path: str, env_names: Iterable[str], state_dir: str, repo: str) -> bool:
    """See that a worker looks at the queue after now -> whether one will; else cron's does.

    None is started where one will look anyway: while a deployment of the repo runs, whose process
    looks again at its end, and while another worker, just started, has not looked yet. A burst of
    deliveries starts one.
    """
    lock = wake_lock(state_dir)
    try:
        if is_taken(state_dir, repo) or not lock.acquire():
            return True
    except OSError:  # a full disk: what is queued is queued
        return False
    env = {**worker_environment(env_names), WAKE_FD: str(_INHERITED)}
    try:
        return spawn_detached(_run(config_path), env, inherit=lock.fd)
    finally:
        lock.release()


def _run(config_path: str) -> list[str]:
    return [sys.executable, "-m", "deployctl", "--config", os.path.abspath(config_path), "run"]


def about_to_look() -> None:
    """The worker's part: who has something to do from now on starts another one."""
    fd = os.environ.pop(WAKE_FD, "")
    if fd == str(_INHERITED):
        try:
            os.close(_INHERITED)
        except OSError:
            return


def worker_environment(env_names: Iterable[str] = ()) -> dict[str, str]:
    """Built from nothing: a header ``Proxy:`` is HTTP_PROXY in the environment of a CGI script."""
    from deployctl.environment import base_environment

    named = {
        name: os.environ[name]
        for name in env_names
        if name in os.environ and not name.startswith("HTTP_")
    }
    root = os.path.dirname(PACKAGE)
    if os.path.basename(root) not in ("site-packages", "dist-packages"):
        named["PYTHONPATH"] = root
    return {**base_environment(), **named}


def spawn_detached(argv: list[str], env: dict[str, str], *, inherit: int | None = None) -> bool:
    """Run a command in a session of its own, in ``/``, without any file of ours -> whether it runs.

    But for one, that is: ``inherit`` becomes its file 3.

    A process in between starts it and ends at once: the command is nobody's child here, so it
    leaves no zombie, and this process keeps its own directory and umask.
    """
    try:
        between = os.fork()
        if between:
            return os.waitpid(between, 0)[1] == 0
    except OSError:
        return False
    try:
        _let_go(inherit)
        os.posix_spawn(argv[0], argv, env)
        os._exit(0)
    finally:
        os._exit(1)


def _let_go(inherit: int | None) -> None:
    """Leave the session, the directory and every open file; fcgiwrap leaks its socket as 3."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    first = 3
    if inherit is not None:
        os.dup2(inherit, _INHERITED)
        os.set_inheritable(_INHERITED, True)  # also where it was that file already
        first = _INHERITED + 1
    os.closerange(first, max(int(name) for name in os.listdir("/proc/self/fd")) + 1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
