"""The one door for commands: steps of a pipeline (:func:`run_step`) and our helpers (:func:`run`).

Whatever a command does, it gets its own session, an environment of its own and a deadline, and
its whole process tree ends with a failure, a timeout or an interruption. The end of the leader is
the end of the command: a daemon that it leaves behind, holding its output open, is not waited for.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deployctl.system.command import Command
from deployctl.system.leftovers import marker_of_helpers, note_step
from deployctl.system.process_child import CannotStartError, Child, held_signals, not_found, spawn
from deployctl.system.process_tree import MARKER, identity

_TAIL_BYTES = 4 * 1024
_TAIL_LINES = 20
_STDOUT_BYTES = 64 * 1024 * 1024
_STDERR_BYTES = 64 * 1024


@dataclass(frozen=True)
class Outcome:
    """How a step ended; ``exit_code`` is None where it did not exit but a signal ended it.

    ``duration`` is in seconds. ``tail`` is the last lines of the output (20 lines, 4 KiB) as they
    came: secrets and control characters included. ``detail``, ``hint`` complete :meth:`describe`.
    ``stopped``: it was ended because another step had failed.
    """

    exit_code: int | None
    signal: str | None = None
    timed_out: bool = False
    duration: float = 0.0
    output_bytes: int = 0
    tail: str = ""
    detail: str = ""
    stopped: bool = False
    hint: str = ""

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out

    def describe(self) -> str:
        """``exit code 3``, ``killed by SIGKILL``, ``timed out after 30s``: part of a sentence."""
        if self.timed_out:
            return f"timed out after {self.detail}"
        hint = f"; {self.hint}" if self.hint else ""
        if self.exit_code is None:
            return f"killed by {self.signal}{hint}"
        return f"exit code {self.exit_code}" + (f": {self.detail}" if self.detail else "") + hint


@dataclass(frozen=True)
class Completed:
    """How a helper ended; ``exit_code`` is negative where a signal ended it (-9: SIGKILL)."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


def command_text(command: Command) -> str:
    """Return the command as a person would type it."""
    return command if isinstance(command, str) else shlex.join(command)


@dataclass(frozen=True)
class StepContext:
    """What a step gets: a working directory, an environment, a marker, a time limit in seconds.

    Every process of the step has the ``marker`` in its environment. ``noted`` is a file that says
    which step runs, for recovery after a crash; None: it is not noted.
    """

    directory: str
    env: Mapping[str, str]
    marker: str
    timeout: float | None = None
    noted: str | None = None


def run_step(
    command: Command,
    context: StepContext,
    *,
    write: Callable[[bytes], object],
    stop: int | None = None,
) -> Outcome:
    """Run one step of the operator; stdout and stderr go to ``write`` as they come.

    A string is the operator's own script for ``/bin/sh -eu``, a tuple is argv. All processes of
    the step are ended after a failure, after ``timeout`` seconds, and when an exception passes
    through or ``stop``, a file descriptor, can be read; those of other steps under the same marker
    are not, such as the daemon that a restart started before its health check failed. After a
    success all may stay. A ``write`` that fails with OSError (disk full, terminal gone) disturbs no
    step.
    """
    context = replace(context, marker=f"{context.marker}/{os.urandom(4).hex()}")
    argv = ("/bin/sh", "-eu", "-c", command) if isinstance(command, str) else command
    began = time.monotonic()
    output = _Output(write)
    try:
        status, how = _watch_step(argv, context, output, stop)
        detail = f"{context.timeout:g}s" if how == "late" else _explain(status, context.env)
    except CannotStartError as error:
        status, how, detail = error.exit_code, "ended", error.reason
        output(f"{error}\n".encode(errors="backslashreplace"))
    return Outcome(
        exit_code=status if status >= 0 else None,
        signal=None if status >= 0 else _signal_name(-status),
        timed_out=how == "late",
        stopped=how == "stopped",
        duration=round(time.monotonic() - began, 3),
        output_bytes=output.size,
        tail=output.tail(),
        detail=detail,
    )


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout: float,
    cwd: str | None = None,
    input: bytes | None = None,
    umask: int = 0o077,
) -> Completed:
    """Run a helper of ours, such as git; after ``timeout`` seconds its whole group is ended.

    So it is when an exception, such as an interruption, passes through. A missing program is
    exit code 127. Of stderr the last 64 KiB are kept. More than 64 MiB on stdout is a failure
    (exit code 1, no stdout): half an answer would be a wrong one.
    """
    stdout, stderr = _Whole(_STDOUT_BYTES), _Tail(_STDERR_BYTES)
    marked = {**env, MARKER: marker_of_helpers(identity())}
    until = time.monotonic() + timeout
    try:
        with _stdin(input) as stdin, held_signals() as deliver:
            process = spawn(argv, cwd, marked, umask=umask, stdin=stdin, stderr=subprocess.PIPE)
            with Child(process) as child:
                deliver()
                child.read(process.stdout, stdout)
                child.read(process.stderr, stderr)
                in_time = child.wait(until)
                if not in_time:
                    child.end()
                child.drain()
    except CannotStartError as error:
        return Completed(error.exit_code, b"", f"{error}\n".encode(errors="backslashreplace"))
    except _TooMuchError:
        return Completed(1, b"", b"more than 64 MiB of output\n")
    return Completed(child.status, bytes(stdout.data), stderr.data, not in_time)


def _watch_step(
    argv: Sequence[str], context: StepContext, output: _Output, stop: int | None
) -> tuple[int, str]:
    """The leader's status as Popen has it, and whether it ended, was late or was stopped."""
    until = None if context.timeout is None else time.monotonic() + context.timeout
    env = {**context.env, MARKER: context.marker}
    with held_signals() as deliver:
        process = spawn(argv, context.directory, env, umask=0o022)
        with Child(process, context.marker) as child:
            deliver()
            if context.noted is not None:
                note_step(context.noted, child.identity, context.marker)
            child.read(process.stdout, output)
            how = "ended" if child.wait(until, stop) else "late"
            how = "stopped" if child.stopped else how
            if how != "ended" or child.failed():
                child.end()
            child.drain()
            child.hand_over()
    return child.status, how


def _explain(status: int, env: Mapping[str, str]) -> str:
    """What the exit code of a shell says about the command that it ran last (POSIX sh)."""
    if status == 127:
        return not_found(env)
    if status == 126:
        return "not executable"
    name = _signal_name(status - 128)
    return f"128 + {name}" if name else ""


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}" if 0 < number < signal.NSIG else None


@contextlib.contextmanager
def _stdin(data: bytes | None) -> Iterator[int]:
    """A file in memory: nothing to feed while the command runs, nothing secret on a disk."""
    if data is None:
        yield subprocess.DEVNULL
        return
    with os.fdopen(os.memfd_create("stdin"), "w+b") as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


class _TooMuchError(Exception):
    pass


class _Whole:
    """Keeps everything, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit

    def __call__(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > self._limit:
            raise _TooMuchError


class _Tail:
    """Counts everything and keeps the end."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self.data = b""
        self._limit = limit

    def __call__(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.data = (self.data + chunk)[-self._limit :]


class LastLines(_Tail):
    """Keeps the last lines of an output: so many, and so many bytes, at most."""

    def __init__(self, lines: int = _TAIL_LINES, size: int = _TAIL_BYTES) -> None:
        super().__init__(size)
        self._lines = lines

    def tail(self) -> str:
        """The last lines; a first word that was cut is left out."""
        data = self.data
        if self.size > len(data) and (cut := re.search(rb"\s", data.rstrip())):
            data = data[cut.end() :]
        lines = data.decode(errors="backslashreplace").splitlines()
        return "\n".join(lines[-self._lines :])


class _Output(LastLines):
    """The output of a step: passed on, counted, its last lines kept."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__()
        self._write = write

    def __call__(self, chunk: bytes) -> None:
        super().__call__(chunk)
        with contextlib.suppress(OSError):
            self._write(chunk)
