"""Start the worker so that it survives the end of the process that starts it.

Restarting the web server's service (or fcgiwrap's) ends every process that its CGI programs left
running in the service's control group. There are three ways to start a worker outside of it. The
first one that this machine offers is used:

- ``unit``: systemd starts the worker, because a file was written into ``wake/`` of the state
  directory, which a path unit watches. ``deployctl setup systemd`` creates the directory and the
  unit. This way is used if the directory exists and the unit has removed every earlier file within
  5 seconds.
- ``scope``: systemd-run starts the worker in a scope of the account's own systemd, outside of the
  web server's service. This way is used if that systemd runs although nobody is logged in
  (``loginctl enable-linger``).
- ``session``: the worker gets a session of its own. It then survives the process that starts it,
  but not the end of the service.

If none of them works, the deployment stays in the queue until cron or a timer starts a worker,
which it does every minute.

The webhook imports this module: it does not use subprocess, whose import takes longer than the rest
of this module's work.
"""

from __future__ import annotations

import os
import sys
import time

from deployctl.system.locks import is_repo_lock_held, wake_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    Way = Literal["unit", "scope", "session"]

# The environment variable with the number of the file that the worker inherits, and that number.
WAKE_FD = "DEPLOYCTL_WAKE_FD"
_INHERITED_FD = 3
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The path unit removes its file at once, even while a worker runs. If the file is older than this,
# in seconds, the unit is not active.
UNIT_TIMEOUT = 5.0
# RUNTIME has a directory for the account while the account's own systemd runs (systemd(1)). LINGER
# has a file for the account if that systemd stays when nobody is logged in (loginctl(1)).
RUNTIME_ROOT = "/run/user"
LINGER_DIR = "/var/lib/systemd/linger"
SYSTEMD_RUN = "/usr/bin/systemd-run"
_RUNTIME_DIR = "XDG_RUNTIME_DIR"


def start_worker(config_path: str, state_dir: str, env_names: Iterable[str] = ()) -> bool:
    """Start ``deployctl run`` with this repos.yml in the background; return whether that worked.

    ``env_names`` are the environment variables that secrets in repos.yml refer to. The worker gets
    them from the environment of this process, and no others.
    """
    return _touch_wake_file(state_dir) or spawn_detached(
        _worker_command(config_path), worker_environment(env_names)
    )


def wake_worker(config_path: str, env_names: Iterable[str], state_dir: str, repo: str) -> bool:
    """Make sure that a worker reads the queue from now on; return whether one will.

    If not, the worker that cron starts will read it. No worker is started while a deployment of the
    repo runs, because its process reads the queue when it ends, nor while a worker that was just
    started has not yet read the queue. So many deliveries at once start one worker. For the other
    arguments see :func:`start_worker`.
    """
    lock = wake_lock(state_dir)
    try:
        if is_repo_lock_held(state_dir, repo) or _touch_wake_file(state_dir) or not lock.acquire():
            return True
    except OSError:  # such as a full disk; the deployment is in the queue already
        return False
    env = {**worker_environment(env_names), WAKE_FD: str(_INHERITED_FD)}
    try:
        return spawn_detached(_worker_command(config_path), env, inherit=lock.fd)
    finally:
        lock.release()


def start_method(state_dir: str) -> Way:
    """Return the way in which a worker would be started now: unit, scope or session."""
    age = wake_file_age(state_dir)
    if age is not None and age <= UNIT_TIMEOUT:
        return "unit"
    return method_without_unit()


def method_without_unit() -> Way:
    """Return the way in which a worker is started if no path unit is active: scope or session."""
    return "scope" if runtime_dir() else "session"


def wake_dir(state_dir: str) -> str:
    """Return the directory that the path unit watches; it exists only if the unit was set up."""
    return os.path.join(state_dir, "wake")


def wake_file_age(state_dir: str) -> float | None:
    """Return for how many seconds the path unit has left a file in its directory.

    0: there is no file. None: there is no directory, so no path unit.
    """
    directory = wake_dir(state_dir)
    try:
        return abs(time.time() - os.stat(os.path.join(directory, "now")).st_mtime)
    except OSError:
        return 0.0 if os.path.isdir(directory) else None


def _touch_wake_file(state_dir: str) -> bool:
    """Write the file that the path unit watches; return whether the unit will start a worker.

    A file that is there already is not changed: its age is the time for which the unit has not
    removed it.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(os.path.join(wake_dir(state_dir), "now"), flags, 0o600)
    except OSError:
        return False
    try:
        return abs(time.time() - os.fstat(file).st_mtime) <= UNIT_TIMEOUT
    finally:
        os.close(file)


def _worker_command(config_path: str) -> list[str]:
    return [sys.executable, "-m", "deployctl", "--config", os.path.abspath(config_path), "run"]


def release_wake_lock() -> None:
    """Release the wake lock that this process, the worker, inherited when it was started.

    The worker calls it before it reads the queue. A delivery that comes later starts another one.
    """
    fd = os.environ.pop(WAKE_FD, "")
    if fd == str(_INHERITED_FD):
        try:
            os.close(_INHERITED_FD)
        except OSError:
            return


def worker_environment(env_names: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment of the worker: the base environment and the named variables.

    It is built from nothing, and without ``HTTP_*``, because the client of a CGI program decides
    about those: its header ``Proxy:`` becomes HTTP_PROXY.
    """
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
    """Start a command that is independent of this process; return whether it was started.

    It gets a session of its own, the directory ``/``, /dev/null as stdin, stdout and stderr, and
    none of the open files of this process except ``inherit``, which becomes its file 3. If the
    account's own systemd stays without a login, the command runs in a scope of it.

    An intermediate process starts the command and ends at once. So the command is no child of this
    process and leaves no zombie here, and this process keeps its own directory and umask.
    """
    try:
        intermediate = os.fork()
        if intermediate:
            return os.waitpid(intermediate, 0)[1] == 0
    except OSError:
        return False
    try:
        _detach(inherit)
        directory = runtime_dir()
        if not directory:
            os.posix_spawn(argv[0], argv, env)
        elif os.fork() == 0:
            _run_in_scope(argv, env, directory)
        os._exit(0)
    finally:
        os._exit(1)


def runtime_dir() -> str | None:
    """Return the XDG_RUNTIME_DIR of the account's own systemd.

    None: no such systemd runs, or it ends when the account's last login ends.
    """
    from deployctl.system.environment import current_account

    current = current_account()
    if not os.path.exists(os.path.join(LINGER_DIR, current.user)):
        return None
    directory = os.path.join(RUNTIME_ROOT, str(current.uid))
    return directory if os.path.isdir(os.path.join(directory, "systemd")) else None


def _run_in_scope(argv: list[str], env: dict[str, str], runtime_dir: str) -> None:
    """Run the command in a scope by systemd-run; if that fails, replace this process with it.

    In a scope, a command keeps its open files and its environment: systemd-run(1). systemd-run
    exits with 1 if it cannot create the scope, and a worker that could do its work never does so;
    127 is the exit code of posix_spawn(3). This process waits for the exit code. Meanwhile it must
    not keep the inherited file open, because that file holds a lock.
    """
    unset = ["/usr/bin/env", "-u", _RUNTIME_DIR]
    scope = [SYSTEMD_RUN, "--user", "--scope", "--collect", "--quiet", "--", *unset, *argv]
    try:
        child = os.posix_spawn(SYSTEMD_RUN, scope, {**env, _RUNTIME_DIR: runtime_dir})
    except OSError:
        os.execve(argv[0], argv, env)  # noqa: S606 - a shell is not needed
    os.closerange(_INHERITED_FD, _INHERITED_FD + 1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (1, 127):
        env_without_lock = {name: value for name, value in env.items() if name != WAKE_FD}
        os.execve(argv[0], argv, env_without_lock)  # noqa: S606 - as above


def _detach(inherit: int | None) -> None:
    """Leave the session and the directory, and close every open file except ``inherit``.

    All are closed because fcgiwrap passes its socket on to CGI programs as file 3.
    """
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    first = 3
    if inherit is not None:
        os.dup2(inherit, _INHERITED_FD)
        os.set_inheritable(_INHERITED_FD, True)  # dup2 does not do it if both numbers are the same
        first = _INHERITED_FD + 1
    os.closerange(first, max(int(name) for name in os.listdir("/proc/self/fd")) + 1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
