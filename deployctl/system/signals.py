"""Signals as exceptions, so that a deployment that is told to stop cleans up behind itself."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from deployctl.errors import Interrupted

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP raise :class:`Interrupted` in the main thread.

    Not the SIGHUP that tells of a terminal that is gone: a connection that drops, a window that is
    closed stop no deployment. One that the caller ignores stays ignored: that is how ``nohup``
    works.
    """
    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shielded() -> Iterator[None]:
    """While the block runs, nothing but SIGKILL ends it: it is putting things back."""
    numbers = (*_ENDING, signal.SIGINT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number != signal.SIGHUP or not _hung_up():
        raise Interrupted(signal.Signals(number).name)


def _hung_up() -> bool:
    """Whether a terminal that was ours is gone; who kills us with SIGHUP leaves it standing."""
    lost = _BEGAN_ON_A_TERMINAL and not _has_terminal()
    return lost or any(map(_is_dead_terminal, range(3)))


def _has_terminal() -> bool:
    """Whether there is a controlling terminal: ENXIO without one, EIO once it is gone (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _is_dead_terminal(fd: int) -> bool:
    """A terminal that hung up answers EIO for ever after, whatever it is asked."""
    try:
        os.get_terminal_size(fd)
    except OSError as error:
        return error.errno == errno.EIO
    return False


_BEGAN_ON_A_TERMINAL = _has_terminal()
