"""Call a function and stop waiting for it after a number of seconds, whatever it waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

T = TypeVar("T")

# In Python 3.10 this is not yet the TimeoutError that sockets raise.
DeadlineExceeded = futures.TimeoutError


def call_within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of ``call``; raise :class:`DeadlineExceeded` if it takes longer.

    The timeout of a socket limits one operation, so a server that sends a byte now and then could
    block for ever; name resolution and files on a mount that hangs have no timeout at all. So the
    call runs in a thread, which goes on after the deadline. It is a daemon thread: it does not
    keep the process from ending.
    """
    future: futures.Future[T] = futures.Future()

    def run_call() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - future.result() raises it again
            future.set_exception(error)

    threading.Thread(target=run_call, daemon=True).start()
    return future.result(seconds)
