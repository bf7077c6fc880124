"""One started command: its pipes are read while it runs, and its whole tree can be ended."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO

from deployctl.system.process_tree import (
    Identity,
    end_group,
    end_marked,
    identity,
    signal_group,
    signal_marked,
)

Sink = Callable[[bytes], object]

CHUNK = 64 * 1024  # bytes; what a pipe holds
GRACE = 2.0  # seconds between SIGTERM and SIGKILL
DRAIN = 0.2  # seconds; what a finished command's children may still add to its output
_PATIENCE = 5.0  # seconds; what SIGKILL does not end by then hangs in the kernel or is root's

# Whatever asks a process to end. SIGPIPE, which Python ignores, is reset by Popen itself.
_HELD = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

# A shell's background command reads /dev/null unless told otherwise, hence the detour over 3.
_SWALLOW = "exec 3<&0; cat <&3 3<&- >/dev/null &"


class CannotStartError(Exception):
    """No process came to be; ``exit_code`` is what a shell gives for it: 126 or 127."""

    def __init__(self, exit_code: int, reason: str, subject: str = "") -> None:
        super().__init__(f"{subject}: {reason}" if subject else reason)
        self.exit_code = exit_code
        self.reason = reason


class Child:
    """A command in a session of its own, until its end or that of its tree.

    The leader is waited for (reaped) last: until then the id of its group cannot be reused.
    Leaving the ``with`` block by an exception ends the tree first.
    """

    def __init__(self, process: subprocess.Popen[bytes], marker: str | None = None) -> None:
        self.ended = False
        self.stopped = False
        self.status = -signal.SIGKILL.value  # as Popen has it; stays where nothing can end it
        self._process = process
        self._marker = marker
        self._muted = False  # a sink that raised, or whose caller was interrupted, is left alone
        self._pipes: set[IO[bytes]] = set()
        self._selector = selectors.DefaultSelector()
        self._pidfd = os.pidfd_open(process.pid)
        self._selector.register(self._pidfd, selectors.EVENT_READ)  # readable once it has ended

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._muted = True
                self.end()
        finally:
            self._close()

    @property
    def identity(self) -> Identity:
        """Who leads the command; not yet waited for, so it can be asked even when it has ended."""
        return identity(self._process.pid)

    def read(self, pipe: IO[bytes] | None, sink: Sink) -> None:
        """From now on what comes through the pipe goes to the sink."""
        if pipe is not None:
            self._pipes.add(pipe)
            self._selector.register(pipe, selectors.EVENT_READ, (pipe, sink))

    def wait(self, until: float | None, stop: int | None = None) -> bool:
        """Read on until the leader has ended (True) or the monotonic moment has come (False).

        Or until ``stop``, a file descriptor, can be read: then it was ``stopped``.
        """
        if stop is not None:
            self._selector.register(stop, selectors.EVENT_READ, stop)
        while not self.ended and not self.stopped and (until is None or time.monotonic() < until):
            self._turn(until)
        if stop is not None:
            self._selector.unregister(stop)
        return self.ended

    def failed(self) -> bool:
        """Whether the ended leader's status is anything but 0; it stays unreaped."""
        status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        return status is None or (status.si_code, status.si_status) != (os.CLD_EXITED, 0)

    def drain(self) -> None:
        """Read what is left; a daemon that keeps a pipe open delays us for a moment only."""
        until = time.monotonic() + DRAIN
        self._turn(time.monotonic())  # what is there already, however slow the sinks are
        while self._pipes and time.monotonic() < until:
            self._turn(until)

    def end(self) -> None:
        """End the tree: SIGTERM, some grace, SIGKILL; the group and what escaped from it."""
        try:
            signal_group(self._process.pid, signal.SIGTERM)
            if self._marker is not None:
                signal_marked(self._marker, signal.SIGTERM)
            self._grace()
        finally:
            end_group(self._process.pid)
            if self._marker is not None:
                end_marked(self._marker)
            self.wait(time.monotonic() + _PATIENCE)

    def hand_over(self) -> None:
        """Let somebody swallow what a daemon left behind still prints.

        Closing the pipe would kill the daemon with SIGPIPE at its next word, keeping it would
        keep us. So a ``cat`` of its own session reads on and ends by itself with the last writer.
        """
        for pipe in self._pipes:
            _swallow(pipe)

    def _turn(self, until: float | None) -> None:
        left = None if until is None else max(0.0, until - time.monotonic())
        for key, _ in self._selector.select(left):
            if key.fd == self._pidfd:
                self.ended = True
                self._selector.unregister(self._pidfd)
            elif isinstance(key.data, int):
                self.stopped = True
            else:
                self._pass_on(*key.data)

    def _pass_on(self, pipe: IO[bytes], sink: Sink) -> None:
        if chunk := os.read(pipe.fileno(), CHUNK):
            if not self._muted:
                sink(chunk)
            return
        self._selector.unregister(pipe)
        self._pipes.discard(pipe)
        pipe.close()

    def _grace(self) -> None:
        """Not only the leader's: a shell dies at once and its children clean up after that."""
        until = time.monotonic() + GRACE
        self.wait(until)
        while self._marker is not None and time.monotonic() < until:
            if not signal_marked(self._marker, 0):
                break
            self._turn(min(until, time.monotonic() + 0.05))

    def _close(self) -> None:
        if (status := self._process.poll()) is not None:
            self.status = status
        self._selector.close()
        os.close(self._pidfd)
        for pipe in self._pipes:
            pipe.close()


def spawn(
    argv: Sequence[str],
    cwd: str | None,
    env: Mapping[str, str],
    *,
    umask: int,
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.STDOUT,
) -> subprocess.Popen[bytes]:
    """Start argv in its own session, or :class:`CannotStartError`; under :func:`held_signals`.

    A program without a slash is looked up in the PATH of ``env``, not in ours.
    """
    try:
        return subprocess.Popen(
            argv,
            bufsize=0,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=cwd,
            env=env,
            umask=umask,
            start_new_session=True,
        )
    except OSError as error:
        raise _cannot_start(error, argv[0], cwd, env) from None


def not_found(env: Mapping[str, str]) -> str:
    """What is wrong when a shell, or we, did not find a program."""
    return f"command not found (PATH was {env.get('PATH', os.defpath)})"


def _cannot_start(
    error: OSError, program: str, cwd: str | None, env: Mapping[str, str]
) -> CannotStartError:
    if cwd is not None and error.filename == cwd:
        return CannotStartError(126, f"cannot enter {cwd}: {error.strerror}")
    if isinstance(error, PermissionError):
        return CannotStartError(126, "not executable", program)
    if not isinstance(error, FileNotFoundError):
        return CannotStartError(126, str(error.strerror), program)
    if "/" in program:  # execve(2) says the same of a script without its interpreter
        return CannotStartError(127, "no such program, or no such interpreter", program)
    return CannotStartError(127, not_found(env), program)


@contextlib.contextmanager
def held_signals() -> Iterator[Callable[[], None]]:
    """Note signals while a child is started, and deliver them when the yielded call is made.

    A handler that raises between the fork and the first wait would lose the child. And exec(2)
    resets signals that are caught but keeps those that are ignored (nohup, ``&`` in a script) or
    blocked; so the child starts with the defaults. Only the main thread has handlers to hold.
    """
    noted: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    before = {signum: signal.getsignal(signum) for signum in _HELD} if main else {}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def deliver() -> None:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        before.clear()
        while noted:
            signal.raise_signal(noted.pop())

    try:
        for signum in before:
            signal.signal(signum, lambda number, _: noted.append(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        yield deliver
    finally:
        deliver()


def _swallow(pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        subprocess.run(
            ["/bin/sh", "-c", _SWALLOW],
            stdin=pipe,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath},
            start_new_session=True,
            check=False,
        )
