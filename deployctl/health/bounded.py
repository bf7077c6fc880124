"""A call that keeps nobody longer than so many seconds, whatever it waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

T = TypeVar("T")

# In Python 3.10 it is not yet the TimeoutError that sockets raise.
Late = futures.TimeoutError


def within(seconds: float, call: Callable[[], T]) -> T:
    """The call's result, or :class:`Late` after so many seconds in all.

    The timeouts of sockets are for one operation each, so a server that trickles could hold us
    for ever; name resolution and files (of a mount that hangs) have none. A thread left behind
    owns nothing but what it waits for and, as a daemon, does not outlive the process.
    """
    future: futures.Future[T] = futures.Future()

    def work() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result(seconds)
