"""Start the worker so that nothing ties it to whoever starts it.

Who restarts the web server's service ends, with it, all that its CGI programs left running. So
there are three ways, and the first one that this machine has is taken:

- ``unit``: a file in ``wake/`` of the state directory, which a path unit of systemd watches
  (``deployctl setup systemd`` makes both): systemd starts the worker.
- ``scope``: the account's own systemd, where that runs without anybody being logged in, takes the
  process out of the web server's service.
- ``session``: a session of its own, which is as much as a process can do for itself.

Where none works, the queue waits for the next worker: cron or a timer starts one every minute.

This module is on the webhook's way: no subprocess, which takes longer to import than this to run.
"""

from __future__ import annotations

import os
import sys
import time

from deployctl.system.locks import is_taken, wake_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    Way = Literal["unit", "scope", "session"]

# The variable that tells a worker of the file it inherits, and that file.
WAKE_FD = "DEPLOYCTL_WAKE_FD"
_INHERITED = 3
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The unit takes the file away at once, whatever runs: one that is older was not seen.
SECONDS_TO_ANSWER = 5.0
# systemd(1), loginctl(1): where there is something while the account's own systemd runs, and
# while that stays when nobody of the account is logged in.
RUNTIME = "/run/user"
LINGER = "/var/lib/systemd/linger"
SYSTEMD_RUN = "/usr/bin/systemd-run"
_RUNTIME_DIR = "XDG_RUNTIME_DIR"


def start_worker(config_path: str, state_dir: str, env_names: Iterable[str] = ()) -> bool:
    """Start ``deployctl run`` with this config, on its own -> whether that worked.

    ``env_names`` are the variables that secrets of the config name: it gets these and no other.
    """
    return _touch_wake_file(state_dir) or spawn_detached(
        _run(config_path), worker_environment(env_names)
    )


def wake_worker(config_path: str, env_names: Iterable[str], state_dir: str, repo: str) -> bool:
    """See that a worker looks at the queue after now -> whether one will; else cron's does.

    None is started where one will look anyway: while a deployment of the repo runs, whose process
    looks again at its end, and while another worker, just started, has not looked yet. A burst of
    deliveries starts one.
    """
    lock = wake_lock(state_dir)
    try:
        if is_taken(state_dir, repo) or _touch_wake_file(state_dir) or not lock.acquire():
            return True
    except OSError:  # a full disk: what is queued is queued
        return False
    env = {**worker_environment(env_names), WAKE_FD: str(_INHERITED)}
    try:
        return spawn_detached(_run(config_path), env, inherit=lock.fd)
    finally:
        lock.release()


def start_method(state_dir: str) -> Way:
    """The way that a worker would be started now."""
    age = unanswered_seconds(state_dir)
    if age is not None and age <= SECONDS_TO_ANSWER:
        return "unit"
    return method_without_unit()


def method_without_unit() -> Way:
    """The way where no unit answers."""
    return "scope" if runtime_dir() else "session"


def wake_dir(state_dir: str) -> str:
    """What the path unit watches; where it is not, there is no such unit."""
    return os.path.join(state_dir, "wake")


def unanswered_seconds(state_dir: str) -> float | None:
    """For how many seconds the path unit has not answered, 0 where it has; None: there is none."""
    directory = wake_dir(state_dir)
    try:
        return abs(time.time() - os.stat(os.path.join(directory, "now")).st_mtime)
    except OSError:
        return 0.0 if os.path.isdir(directory) else None


def _touch_wake_file(state_dir: str) -> bool:
    """Tell the path unit, where there is one -> whether it can be relied on.

    An older file stays as it is, and tells for how long nobody has answered.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(os.path.join(wake_dir(state_dir), "now"), flags, 0o600)
    except OSError:
        return False
    try:
        return abs(time.time() - os.fstat(file).st_mtime) <= SECONDS_TO_ANSWER
    finally:
        os.close(file)


def _run(config_path: str) -> list[str]:
    return [sys.executable, "-m", "deployctl", "--config", os.path.abspath(config_path), "run"]


def release_wake_lock() -> None:
    """The worker's part: who has something to do from now on starts another one."""
    fd = os.environ.pop(WAKE_FD, "")
    if fd == str(_INHERITED):
        try:
            os.close(_INHERITED)
        except OSError:
            return


def worker_environment(env_names: Iterable[str] = ()) -> dict[str, str]:
    """Built from nothing: a header ``Proxy:`` is HTTP_PROXY in the environment of a CGI script."""
    from deployctl.system.environment import base_environment

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

    But for one, that is: ``inherit`` becomes its file 3. And in a scope of the account's own
    systemd, where that lingers.

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
        directory = runtime_dir()
        if not directory:
            os.posix_spawn(argv[0], argv, env)
        elif os.fork() == 0:
            _run_in_scope(argv, env, directory)
        os._exit(0)
    finally:
        os._exit(1)


def runtime_dir() -> str | None:
    """That of the account's own systemd, where that does not end with the last login."""
    from deployctl.system.environment import account

    who = account()
    if not os.path.exists(os.path.join(LINGER, who.user)):
        return None
    directory = os.path.join(RUNTIME, str(who.uid))
    return directory if os.path.isdir(os.path.join(directory, "systemd")) else None


def _run_in_scope(argv: list[str], env: dict[str, str], runtime_dir: str) -> None:
    """Let systemd-run become the command, and become it myself where systemd-run fails.

    In a scope, a command keeps its files and its environment: systemd-run(1). It ends with 1 where
    it has none, which no worker does that could do anything; 127 is posix_spawn's. This process
    waits until then, without the file that it handed on: that is a lock.
    """
    unset = ["/usr/bin/env", "-u", _RUNTIME_DIR]
    scope = [SYSTEMD_RUN, "--user", "--scope", "--collect", "--quiet", "--", *unset, *argv]
    try:
        child = os.posix_spawn(SYSTEMD_RUN, scope, {**env, _RUNTIME_DIR: runtime_dir})
    except OSError:
        os.execve(argv[0], argv, env)  # noqa: S606 - there is none in between
    os.closerange(_INHERITED, _INHERITED + 1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (1, 127):
        alone = {name: value for name, value in env.items() if name != WAKE_FD}
        os.execve(argv[0], argv, alone)  # noqa: S606 - as above


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
