"""Start the worker so that nothing ties it to whoever starts it.

This module is on the webhook's way: no subprocess, which takes longer to import than this to run.
"""

from __future__ import annotations

import os
import sys

from deployctl.environment import base_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGE = os.path.dirname(os.path.abspath(__file__))


def start_worker(config_path: str, env_names: Iterable[str] = ()) -> bool:
    """Start ``deployctl run`` with this config, on its own -> whether that worked.

    ``env_names`` are the variables that secrets of the config name: it gets these and no other.

    Where it did not, the queue waits for the next worker: cron starts one every minute.
    """
    config = os.path.abspath(config_path)
    argv = [sys.executable, "-m", "deployctl", "--config", config, "run"]
    return spawn_detached(argv, worker_environment(env_names))


def worker_environment(env_names: Iterable[str] = ()) -> dict[str, str]:
    """Built from nothing: a header ``Proxy:`` is HTTP_PROXY in the environment of a CGI script."""
    named = {
        name: os.environ[name]
        for name in env_names
        if name in os.environ and not name.startswith("HTTP_")
    }
    root = os.path.dirname(PACKAGE)
    if os.path.basename(root) not in ("site-packages", "dist-packages"):
        named["PYTHONPATH"] = root
    return {**base_environment(), **named}


def spawn_detached(argv: list[str], env: dict[str, str]) -> bool:
    """Run a command in a session of its own, in ``/``, without any file of ours -> whether it runs.

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
        _let_go()
        os.posix_spawn(argv[0], argv, env)
        os._exit(0)
    finally:
        os._exit(1)


def _let_go() -> None:
    """Leave the session, the directory and every open file; fcgiwrap leaks its socket as 3."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    os.closerange(3, max(int(name) for name in os.listdir("/proc/self/fd")) + 1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
