"""Turn signals into exceptions, so that a deployment that is told to stop can clean up."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from deployctl.errors import Interrupted

_TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """The effect of SIGTERM, SIGHUP and SIGINT within :func:`interruptible`."""

    def ignore(self) -> None:
        """Ignore all three until the block ends, because a good state is restored or recorded.

        There is no moment between in which a signal has its usual effect, which is to end the
        process without a record of what it has done.
        """
        for number in (*_TERMINATION_SIGNALS, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def interruptible() -> Iterator[Interruptions]:
    """Let SIGTERM and SIGHUP raise :class:`Interrupted` in the main thread while the block runs.

    A SIGHUP that the kernel sends because the terminal is gone is ignored: a dropped connection or
    a closed window stops no deployment. A signal that the caller ignores stays ignored, which is
    how nohup(1) works.
    """
    previous = {
        number: signal.getsignal(number) for number in (*_TERMINATION_SIGNALS, signal.SIGINT)
    }
    for number in _TERMINATION_SIGNALS:
        if previous[number] is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield Interruptions()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number != signal.SIGHUP or not _is_terminal_gone():
        raise Interrupted(signal.Signals(number).name)


def _is_terminal_gone() -> bool:
    """Tell whether this process has lost its terminal.

    It tells the kernel's SIGHUP from one that a person sends with kill(1), which leaves the
    terminal open.
    """
    lost = _STARTED_ON_A_TERMINAL and not _has_terminal()
    return lost or any(map(_is_dead_terminal, range(3)))


def _has_terminal() -> bool:
    """Tell whether there is a controlling terminal.

    open(2) fails with ENXIO without one, with EIO once it is gone (tty(4)).
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _is_dead_terminal(fd: int) -> bool:
    """Tell whether a file descriptor is a terminal that hung up: every ioctl fails with EIO."""
    try:
        os.get_terminal_size(fd)
    except OSError as error:
        return error.errno == errno.EIO
    return False


_STARTED_ON_A_TERMINAL = _has_terminal()
