"""Run commands: steps of a pipeline (:func:`run_step`) and helpers such as git (:func:`run`).

Every command gets a session of its own, exactly the environment that the caller builds, and a
deadline. After a failure, a timeout or an interruption, its processes are ended: all of them for a
step, its process group for a helper. A command has ended when its leader, the process that was
started, has ended: a daemon that it leaves behind and that keeps its output open is not waited for.
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
from deployctl.system.leftovers import marker_of_helpers, write_note
from deployctl.system.process_child import CannotStartError, Child, held_signals, not_found, spawn
from deployctl.system.process_tree import MARKER, identity

_TAIL_BYTES = 4 * 1024
_TAIL_LINES = 20
_STDOUT_BYTES = 64 * 1024 * 1024
_STDERR_BYTES = 64 * 1024


@dataclass(frozen=True)
class StepOutcome:
    """The result of a step.

    ``exit_code`` is None if a signal ended it; then ``signal`` is its name, such as ``SIGKILL``.
    ``duration`` is in seconds. ``tail`` is the end of the output, at most 20 lines and 4 KiB,
    unchanged: it may contain secrets and control characters. ``detail`` and ``hint`` are the parts
    of :meth:`describe` that explain the result. ``stopped``: it was ended because another step had
    failed.
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
        """Return how the step ended, as part of a sentence.

        Such as ``exit code 3``, ``killed by SIGKILL`` or ``timed out after 30s``.
        """
        if self.timed_out:
            return f"timed out after {self.detail}"
        hint = f"; {self.hint}" if self.hint else ""
        if self.exit_code is None:
            return f"killed by {self.signal}{hint}"
        return f"exit code {self.exit_code}" + (f": {self.detail}" if self.detail else "") + hint


@dataclass(frozen=True)
class Completed:
    """The result of a helper; ``exit_code`` is ``-N`` if signal N ended it (-9: SIGKILL)."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


def command_text(command: Command) -> str:
    """Return the command as a person would type it."""
    return command if isinstance(command, str) else shlex.join(command)


@dataclass(frozen=True)
class StepContext:
    """The settings of a step.

    ``directory`` is its working directory. ``marker`` gets into the environment of all its
    processes (see :mod:`deployctl.system.process_tree`). ``timeout`` is in seconds; None: no limit.
    ``note_path`` is the path of the note about the step that runs, for recovery after a crash (see
    :mod:`deployctl.system.leftovers`); None: no note is written.
    """

    directory: str
    env: Mapping[str, str]
    marker: str
    timeout: float | None = None
    note_path: str | None = None


def run_step(
    command: Command,
    context: StepContext,
    *,
    write: Callable[[bytes], object],
    stop: int | None = None,
) -> StepOutcome:
    """Run one step of the operator; pass stdout and stderr to ``write`` while it runs.

    All processes of the step are ended after a failure, after the timeout, if an exception is
    raised, and as soon as ``stop``, a file descriptor, can be read. Processes of other steps with
    the same ``context.marker`` are not ended, such as the daemon that a restart step started before
    the health check failed: each step appends a random part to its marker. After a success every
    process of the step may stay.

    An OSError of ``write`` (disk full, terminal gone) is ignored.
    """
    context = replace(context, marker=f"{context.marker}/{os.urandom(4).hex()}")
    argv = ("/bin/sh", "-eu", "-c", command) if isinstance(command, str) else command
    began = time.monotonic()
    output = _Output(write)
    try:
        status, ending = _watch_step(argv, context, output, stop)
        is_late = ending == "late"
        detail = f"{context.timeout:g}s" if is_late else _explain_exit_code(status, context.env)
    except CannotStartError as error:
        status, ending, detail = error.exit_code, "ended", error.reason
        output(f"{error}\n".encode(errors="backslashreplace"))
    return StepOutcome(
        exit_code=status if status >= 0 else None,
        signal=None if status >= 0 else _signal_name(-status),
        timed_out=ending == "late",
        stopped=ending == "stopped",
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
    """Run a helper of deployctl, such as git, and return its output.

    ``input`` is its stdin. Its process group is ended after ``timeout`` seconds, and also if an
    exception is raised, such as an interruption. A program that is not found gives exit code 127,
    one that cannot be started 126. The last 64 KiB of stderr are kept. More than 64 MiB on stdout
    is a failure (exit code 1, no stdout), because an incomplete answer would be a wrong one.
    """
    stdout, stderr = _WholeOutput(_STDOUT_BYTES), _OutputEnd(_STDERR_BYTES)
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
    except _OutputTooLargeError:
        return Completed(1, b"", b"more than 64 MiB of output\n")
    return Completed(child.status, bytes(stdout.data), stderr.data, not in_time)


def _watch_step(
    argv: Sequence[str], context: StepContext, output: _Output, stop: int | None
) -> tuple[int, str]:
    """Run a step; return the leader's status and ``ended``, ``late`` or ``stopped``.

    The status is the exit code, or ``-N`` if signal N ended the leader.
    """
    until = None if context.timeout is None else time.monotonic() + context.timeout
    env = {**context.env, MARKER: context.marker}
    with held_signals() as deliver:
        process = spawn(argv, context.directory, env, umask=0o022)
        with Child(process, context.marker) as child:
            deliver()
            if context.note_path is not None:
                write_note(context.note_path, child.identity, context.marker)
            child.read(process.stdout, output)
            ending = "ended" if child.wait(until, stop) else "late"
            ending = "stopped" if child.stopped else ending
            if ending != "ended" or child.failed():
                child.end()
            child.drain()
            child.discard_later_output()
    return child.status, ending


def _explain_exit_code(status: int, env: Mapping[str, str]) -> str:
    """Return what a shell's exit code means for the last command that it ran (POSIX sh).

    Empty: it has no special meaning.
    """
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
    """Yield a file descriptor with the input of a command.

    It is a file in memory: so it need not be written while the command runs, as a pipe would, and
    no secret gets onto a disk.
    """
    if data is None:
        yield subprocess.DEVNULL
        return
    with os.fdopen(os.memfd_create("stdin"), "w+b") as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


class _OutputTooLargeError(Exception):
    pass


class _WholeOutput:
    """A sink that keeps all output; more bytes than ``limit`` are an error."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit

    def __call__(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > self._limit:
            raise _OutputTooLargeError


class _OutputEnd:
    """A sink that counts all bytes and keeps the last ``limit`` of them."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self.data = b""
        self._limit = limit

    def __call__(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.data = (self.data + chunk)[-self._limit :]


class LastLines(_OutputEnd):
    """A sink that keeps the last lines: at most ``lines`` of them, and at most ``size`` bytes."""

    def __init__(self, lines: int = _TAIL_LINES, size: int = _TAIL_BYTES) -> None:
        super().__init__(size)
        self._lines = lines

    def tail(self) -> str:
        """Return the last lines, without a first word that the limit of bytes has cut."""
        data = self.data
        if self.size > len(data) and (cut := re.search(rb"\s", data.rstrip())):
            data = data[cut.end() :]
        lines = data.decode(errors="backslashreplace").splitlines()
        return "\n".join(lines[-self._lines :])


class _Output(LastLines):
    """A sink for the output of a step: it passes on, counts, and keeps the last lines."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__()
        self._write = write

    def __call__(self, chunk: bytes) -> None:
        super().__call__(chunk)
        with contextlib.suppress(OSError):
            self._write(chunk)
