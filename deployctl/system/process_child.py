"""Start one command, read its pipes while it runs, and end it with all its descendants.

The leader is the process that is started. The tree is the leader and every process that it or its
descendants forked: those in the leader's process group, and those with the marker of
:mod:`deployctl.system.process_tree`, which have left that group.
"""

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

# A function that receives the output of a command, one chunk after the other.
Sink = Callable[[bytes], object]

CHUNK = 64 * 1024  # bytes; the capacity of a pipe, pipe(7)
GRACE = 2.0  # seconds between SIGTERM and SIGKILL
LONGEST_WAIT = 1.0  # seconds in one system call
DRAIN = 0.2  # seconds for which children of a command that has ended may still add to its output
# seconds; a process that SIGKILL has not ended by then hangs in the kernel or belongs to root
_KILL_TIMEOUT = 5.0

# The signals that ask a process to end. SIGPIPE, which Python ignores, is reset by Popen itself.
_HELD_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

# A shell connects the stdin of a background command to /dev/null, unless it is redirected: hence
# the copy of it as file 3.
_DISCARD_SCRIPT = "exec 3<&0; cat <&3 3<&- >/dev/null &"


class CannotStartError(Exception):
    """The error for a command that could not be started.

    ``exit_code`` is the one that a shell gives in this case: 127 if the program was not found, 126
    otherwise. ``subject``, the program, begins the message but is not part of ``reason``.
    """

    def __init__(self, exit_code: int, reason: str, subject: str = "") -> None:
        super().__init__(f"{subject}: {reason}" if subject else reason)
        self.exit_code = exit_code
        self.reason = reason


class Child:
    """A started command in a session of its own, used in a ``with`` statement.

    ``process`` is what :func:`spawn` returned. ``marker`` is the marker in the environment of its
    processes; without one, only the process group is ended. ``ended`` tells whether the leader has
    ended, ``stopped`` whether :meth:`wait` was stopped by its file descriptor. After the ``with``
    block, ``status`` is the leader's exit code, or ``-N`` if signal N ended it.

    The leader is waited for (reaped) at the end of the ``with`` block: until then the id of its
    process group cannot be reused. If an exception leaves the block, the tree is ended first.
    """

    def __init__(self, process: subprocess.Popen[bytes], marker: str | None = None) -> None:
        self.ended = False
        self.stopped = False
        self.status = -signal.SIGKILL.value  # remains if even SIGKILL does not end the leader
        self._process = process
        self._marker = marker
        # True after a sink or a signal handler raised an exception: output is read, then dropped.
        self._muted = False
        self._pipes: set[IO[bytes]] = set()
        self._selector = selectors.DefaultSelector()
        self._pidfd = os.pidfd_open(process.pid)
        self._selector.register(self._pidfd, selectors.EVENT_READ)  # readable at its end

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
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
        """The leader's identity, available even if it has ended, because it is not yet reaped."""
        return identity(self._process.pid)

    def read(self, pipe: IO[bytes] | None, sink: Sink) -> None:
        """Pass the output that comes through a pipe to a sink, from now on.

        None, a pipe that Popen did not create, is ignored.
        """
        if pipe is not None:
            self._pipes.add(pipe)
            self._selector.register(pipe, selectors.EVENT_READ, (pipe, sink))

    def wait(self, until: float | None, stop: int | None = None) -> bool:
        """Read output until the leader ends; return whether it has ended.

        Return earlier at the time ``until`` (of time.monotonic(), in seconds; None: no limit), or
        as soon as ``stop``, a file descriptor, can be read: then ``stopped`` becomes True.
        """
        if stop is not None:
            self._selector.register(stop, selectors.EVENT_READ, stop)
        while not self.ended and not self.stopped and (until is None or time.monotonic() < until):
            self._handle_events(until)
        if stop is not None:
            self._selector.unregister(stop)
        return self.ended

    def failed(self) -> bool:
        """Tell whether the leader, which has ended, did not exit with 0; do not reap it."""
        status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        return status is None or (status.si_code, status.si_status) != (os.CLD_EXITED, 0)

    def drain(self) -> None:
        """Read the rest of the output of a command that has ended.

        If a daemon keeps a pipe open, stop after 0.2 seconds.
        """
        until = time.monotonic() + DRAIN
        self._handle_events(time.monotonic())  # what is there already, however slow the sinks are
        while self._pipes and time.monotonic() < until:
            self._handle_events(until)

    def end(self) -> None:
        """End the tree: send SIGTERM, wait for at most 2 seconds, send SIGKILL.

        Both go to the leader's process group and to the processes with the marker outside of it.
        """
        try:
            signal_group(self._process.pid, signal.SIGTERM)
            if self._marker is not None:
                signal_marked(self._marker, signal.SIGTERM)
            self._wait_for_grace()
        finally:
            end_group(self._process.pid)
            if self._marker is not None:
                end_marked(self._marker)
            self.wait(time.monotonic() + _KILL_TIMEOUT)

    def discard_later_output(self) -> None:
        """Let a separate process read and discard the output of daemons that the command left.

        If the pipe were closed, SIGPIPE would kill the daemon at its next output; if this process
        read on, it could not end. So a ``cat`` in a session of its own reads the pipe. It ends when
        the last process that has the pipe open for writing ends.
        """
        for pipe in self._pipes:
            _discard_output(pipe)

    def _handle_events(self, until: float | None) -> None:
        # A signal that arrives just before a system call does not interrupt it.
        left = LONGEST_WAIT if until is None else max(0.0, until - time.monotonic())
        timeout = min(left, LONGEST_WAIT)
        for key, _ in self._selector.select(timeout):
            if key.fd == self._pidfd:
                self.ended = True
                self._selector.unregister(self._pidfd)
            elif isinstance(key.data, int):
                self.stopped = True
            else:
                self._forward(*key.data)

    def _forward(self, pipe: IO[bytes], sink: Sink) -> None:
        if chunk := os.read(pipe.fileno(), CHUNK):
            if not self._muted:
                sink(chunk)
            return
        self._selector.unregister(pipe)
        self._pipes.discard(pipe)
        pipe.close()

    def _wait_for_grace(self) -> None:
        """Wait until the tree has ended after SIGTERM, for at most 2 seconds.

        The leader's end is not enough: a shell ends at once, while its children still clean up.
        """
        until = time.monotonic() + GRACE
        self.wait(until)
        while self._marker is not None and time.monotonic() < until:
            if not signal_marked(self._marker, 0):
                break
            self._handle_events(min(until, time.monotonic() + 0.05))

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
    """Start a command in a session of its own, with a pipe as its stdout.

    ``stderr`` goes to the same pipe by default. A program without a slash is looked up in the PATH
    of ``env``, not in that of this process. Call it inside :func:`held_signals`. Raise
    :class:`CannotStartError` if the command cannot be started.
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
    """Return the reason why a shell, or :func:`spawn`, did not find a program."""
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
    if "/" in program:  # execve(2): ENOENT too if a script's interpreter is missing
        return CannotStartError(127, "no such program, or no such interpreter", program)
    return CannotStartError(127, not_found(env), program)


@contextlib.contextmanager
def held_signals() -> Iterator[Callable[[], None]]:
    """Hold back the signals that end a process while a child is started.

    Yield a function that restores the handlers, then raises the signals that arrived. The end of
    the block calls it as well.

    If a handler raised an exception between fork(2) and the first wait, the child would be lost.
    Moreover, exec(2) resets signals with a handler to the default, but keeps ignored ones (nohup,
    ``&`` in a script) and blocked ones: with the handlers of this function, and nothing blocked,
    the child starts with the defaults. Only the main thread can set handlers; in another thread
    only the blocked signals are changed.
    """
    arrived: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    previous = {signum: signal.getsignal(signum) for signum in _HELD_SIGNALS} if is_main else {}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def deliver() -> None:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        previous.clear()
        while arrived:
            signal.raise_signal(arrived.pop())

    try:
        for signum in previous:
            signal.signal(signum, lambda number, _: arrived.append(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        yield deliver
    finally:
        deliver()


def _discard_output(pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        subprocess.run(
            ["/bin/sh", "-c", _DISCARD_SCRIPT],
            stdin=pipe,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath},
            start_new_session=True,
            check=False,
        )
