"""Limit the CPU, disk and memory use of stages, so that a build does not slow down what is live.

The limits are set by programs in front of the command: nice(1), ionice(1), and systemd-run(1) with
``--scope``. Each of them executes the command in its own place (exec), so the command stays in its
session, keeps its environment, and its exit code or signal arrives unchanged.

Memory is not limited with RLIMIT_AS (setrlimit(2)): that counts addresses that are only reserved,
and node reserves gigabytes of them, and it counts each process alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from deployctl.system.command import Command
from deployctl.system.environment import base_environment
from deployctl.system.process import StepOutcome, run
from deployctl.system.wake import SYSTEMD_RUN, runtime_dir
from deployctl.values.repo import Repo
from deployctl.values.text import as_configured

_TIMEOUT = 10.0  # seconds; of the trial of systemd-run
_RUNTIME_DIR = "XDG_RUNTIME_DIR"
_ENV = "/usr/bin/env"
# Prints the memory limit of the process itself: cgroups(7), version 2. $1 is where cgroups are.
_PRINT_LIMIT = 'cat "$1$(sed -n s/^0:://p /proc/self/cgroup)/memory.max"'
# If the kernel kills one process of a scope for lack of memory, systemd ends all of them:
# OOMPolicy in systemd.scope(5).
_ENDED_BY = ("SIGKILL", "SIGTERM")


@dataclass(frozen=True)
class Systemd:
    """The paths of systemd: the program, the directory that exists while it runs, the cgroups.

    ``running`` is the test of sd_booted(3).
    """

    run: str = SYSTEMD_RUN
    running: str = "/run/systemd/system"
    cgroups: str = "/sys/fs/cgroup"


@dataclass(frozen=True)
class Limits:
    """The limits of a command, as the words that stand in front of it.

    ``memory`` is the limit in bytes, None without a limit.
    """

    prefix: tuple[str, ...] = ()
    memory: int | None = None

    def wrap(self, command: Command) -> Command:
        """Return the command with the limits in front of it, as argv.

        A shell starts the command, because its exit code tells a program that is not found (127)
        from one that cannot be executed (126). Without limits the command is returned as it is.
        """
        if not self.prefix:
            return command
        if isinstance(command, str):
            return (*self.prefix, "/bin/sh", "-eu", "-c", command)
        return (*self.prefix, "/bin/sh", "-c", 'exec "$@"', "sh", *command)

    def hint(self, outcome: StepOutcome) -> str:
        """Return a hint if the memory limit may have ended the command, else an empty string."""
        ended = outcome.exit_code is None and outcome.signal in _ENDED_BY
        if self.memory is None or not (ended or outcome.exit_code == 128 + 9):
            return ""
        return f"was memory: {as_configured(self.memory)} too little?"


NO_LIMITS = Limits()


def limits_of(repo: Repo, warn: Callable[[str], object], systemd: Systemd | None = None) -> Limits:
    """Return the limits of a repo, as far as this machine can set them.

    ``warn`` is called with a line of text for each limit that cannot be set.
    """
    priority = low_priority_prefix(repo)
    if repo.ionice and not _program("ionice"):
        warn("warning: no ionice: there is no such program (apt-get install util-linux)")
    if repo.memory is None:
        return Limits(priority)
    systemd = systemd or Systemd()
    reason = why_no_memory_limit(repo.memory, systemd)
    if reason is not None:
        warn(f"warning: no memory limit: {reason}")
        return Limits(priority)
    return Limits((*priority, *_systemd_run(repo.memory, systemd)), repo.memory)


def low_priority_prefix(repo: Repo) -> tuple[str, ...]:
    """Return the words of ``nice`` and ``ionice`` in front of a command; empty if neither is set.

    The programs are named by their absolute path, because a step may have any PATH.
    """
    words: list[str] = []
    nice, ionice = _program("nice"), _program("ionice")
    if repo.nice and nice:
        words += [nice, "-n", str(repo.nice)]
    if repo.ionice and ionice:
        kind, _, level = repo.ionice.partition(" ")
        # -t: the command runs even if the kernel does not allow the class.
        words += [ionice, "-t", "-c", "3" if kind == "idle" else "2"]
        words += ["-n", level] if level else []
    return tuple(words)


def why_no_memory_limit(memory: int, systemd: Systemd) -> str | None:
    """Return why systemd cannot limit the memory of a command, or None if it can.

    ``memory`` is in bytes. It is tried: a shell in a scope prints the limit that the kernel has
    set for it.
    """
    if not os.path.isdir(systemd.running):
        return "systemd does not run here"
    if os.geteuid() != 0 and runtime_dir() is None:
        return "this account's own systemd does not run alone"
    argv = (*_systemd_run(memory, systemd), "/bin/sh", "-c", _PRINT_LIMIT, "sh", systemd.cgroups)
    done = run(argv, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    limit = done.stdout.decode(errors="replace").strip()
    if limit.isdigit():
        # The kernel rounds down to whole pages, so the limit may be a little smaller.
        return None if int(limit) <= memory else f"the kernel limits it to {limit} bytes instead"
    if done.exit_code == 0:
        return "systemd sets none for it"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"systemd-run: {lines[-1]}" if lines else "systemd-run failed"


def _systemd_run(memory: int, systemd: Systemd) -> tuple[str, ...]:
    """Return the words of systemd-run(1) in front of a command; ``memory`` is in bytes.

    Root asks the systemd of the system, another account its own systemd. That is found through the
    variable XDG_RUNTIME_DIR, which is removed again from the environment of the command.
    """
    run_words: tuple[str, ...] = (systemd.run,)
    unset: tuple[str, ...] = ()
    directory = None if os.geteuid() == 0 else runtime_dir()
    if directory is not None:
        run_words = (_ENV, f"{_RUNTIME_DIR}={directory}", systemd.run, "--user")
        unset = (_ENV, "-u", _RUNTIME_DIR)
    limit = ("-p", f"MemoryMax={memory}", "-p", "MemorySwapMax=0")
    return (*run_words, "--scope", "--collect", "--quiet", *limit, "--", *unset)


def _program(name: str) -> str | None:
    """Return the absolute path of a program, or None if it is not installed."""
    return shutil.which(name, path=base_environment()["PATH"])
