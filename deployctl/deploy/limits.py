"""What the stages of a repo may take of the machine, so that a build never starves what is live.

nice(1) and ionice(1) are the system's own; they become the command, and so does systemd-run with
``--scope``: the command stays in its session, with its environment, and ends as any other. A limit
of addresses (RLIMIT_AS) is no substitute for a limit of memory: it counts what is merely reserved,
and node reserves gigabytes, and it counts for each process alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from deployctl.system.command import Command
from deployctl.system.environment import base_environment
from deployctl.system.process import Outcome, run
from deployctl.system.wake import SYSTEMD_RUN, runtime_dir
from deployctl.values.repo import Repo
from deployctl.values.text import as_configured

_TIMEOUT = 10.0
_RUNTIME_DIR = "XDG_RUNTIME_DIR"
_ENV = "/usr/bin/env"
# Where the kernel shows what holds for a process: cgroups(7), version 2.
_LIMIT = 'cat "$1$(sed -n s/^0:://p /proc/self/cgroup)/memory.max"'
# A scope whose process the kernel kills is ended as a whole: OOMPolicy in systemd.scope(5).
_ENDED_BY = ("SIGKILL", "SIGTERM")


@dataclass(frozen=True)
class Systemd:
    """Where systemd is: whether it runs at all (sd_booted(3)), and what it limits."""

    run: str = SYSTEMD_RUN
    running: str = "/run/systemd/system"
    cgroups: str = "/sys/fs/cgroup"


@dataclass(frozen=True)
class Limits:
    """The words that a command starts behind; ``memory`` in bytes where that is limited."""

    prefix: tuple[str, ...] = ()
    memory: int | None = None

    def wrap(self, command: Command) -> Command:
        """The command within the limits.

        A shell starts it: it is the one to tell what is not there (127) from what cannot run (126).
        """
        if not self.prefix:
            return command
        if isinstance(command, str):
            return (*self.prefix, "/bin/sh", "-eu", "-c", command)
        return (*self.prefix, "/bin/sh", "-c", 'exec "$@"', "sh", *command)

    def hint(self, outcome: Outcome) -> str:
        """What the limit of memory has to do with how a command ended; empty: nothing."""
        ended = outcome.exit_code is None and outcome.signal in _ENDED_BY
        if self.memory is None or not (ended or outcome.exit_code == 128 + 9):
            return ""
        return f"was memory: {as_configured(self.memory)} too little?"


NONE = Limits()


def limits_of(repo: Repo, warn: Callable[[str], object], systemd: Systemd | None = None) -> Limits:
    """The limits of a repo, as far as this machine has them; ``warn`` hears of what it has not."""
    gentle = low_priority_prefix(repo)
    if repo.ionice and not _program("ionice"):
        warn("warning: no ionice: there is no such program (apt-get install util-linux)")
    if repo.memory is None:
        return Limits(gentle)
    systemd = systemd or Systemd()
    why = why_no_memory_limit(repo.memory, systemd)
    if why is not None:
        warn(f"warning: no memory limit: {why}")
        return Limits(gentle)
    return Limits((*gentle, *_scope(repo.memory, systemd)), repo.memory)


def low_priority_prefix(repo: Repo) -> tuple[str, ...]:
    """The words in front of a command that gives way; the programs by their path: what a step has
    as PATH is its own business.
    """
    words: list[str] = []
    nice, ionice = _program("nice"), _program("ionice")
    if repo.nice and nice:
        words += [nice, "-n", str(repo.nice)]
    if repo.ionice and ionice:
        kind, _, level = repo.ionice.partition(" ")
        # -t: where the kernel does not let it, the command runs all the same.
        words += [ionice, "-t", "-c", "3" if kind == "idle" else "2"]
        words += ["-n", level] if level else []
    return tuple(words)


def why_no_memory_limit(memory: int, systemd: Systemd) -> str | None:
    """What keeps systemd from limiting the memory of a command, tried out; None: it does."""
    if not os.path.isdir(systemd.running):
        return "systemd does not run here"
    if os.geteuid() != 0 and runtime_dir() is None:
        return "this account's own systemd does not run alone"
    argv = (*_scope(memory, systemd), "/bin/sh", "-c", _LIMIT, "sh", systemd.cgroups)
    done = run(argv, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    said = done.stdout.decode(errors="replace").strip()
    if said.isdigit():
        # The kernel counts in pages.
        return None if int(said) <= memory else f"the kernel limits it to {said} bytes instead"
    if done.exit_code == 0:
        return "systemd sets none for it"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"systemd-run: {lines[-1]}" if lines else "systemd-run failed"


def _scope(memory: int, systemd: Systemd) -> tuple[str, ...]:
    """systemd-run(1), of the system for root and else of the account.

    The account's own is found by a variable, which the command does not get to see.
    """
    asked: tuple[str, ...] = (systemd.run,)
    unset: tuple[str, ...] = ()
    directory = None if os.geteuid() == 0 else runtime_dir()
    if directory is not None:
        asked = (_ENV, f"{_RUNTIME_DIR}={directory}", systemd.run, "--user")
        unset = (_ENV, "-u", _RUNTIME_DIR)
    limit = ("-p", f"MemoryMax={memory}", "-p", "MemorySwapMax=0")
    return (*asked, "--scope", "--collect", "--quiet", *limit, "--", *unset)


def _program(name: str) -> str | None:
    return shutil.which(name, path=base_environment()["PATH"])
