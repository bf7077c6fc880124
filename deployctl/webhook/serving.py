"""Serve one webhook request in a process of its own, by CGI or from inetd, whatever happens.

Both CGI and inetd give a program only its three standard files. What it writes to stderr may reach
the client as a part of the answer. Neither of them ends a program that hangs, so it ends itself.
"""

from __future__ import annotations

import os
import sys
import time

from deployctl.config.compiled import guess_state_dir, load_webhook_config
from deployctl.config.locate import find_config
from deployctl.errors import DeployctlError
from deployctl.system.fast_imports import signal
from deployctl.system.trust import belongs_to_this_account
from deployctl.system.wake import wake_worker
from deployctl.webhook.receive import Answer, receive, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import BinaryIO, NoReturn

    from deployctl.webhook.request import Request

# Forges close the connection after 5 to 10 s. A program that hangs would keep one of the few
# processes of fcgiwrap busy.
SECONDS = 10
SECONDS_TO_ANSWER = 2
MAX_LOG = 1024 * 1024  # bytes
_PHRASES = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class OutOfTime(BaseException):
    """The end of the time limit of this process, raised once by the handler of SIGALRM."""


def run(serve: Callable[[BinaryIO, BinaryIO], None]) -> NoReturn:
    """Call ``serve`` with stdin and stdout to answer one request, then end the process.

    ``serve`` has SECONDS until OutOfTime is raised in it. After that it has SECONDS_TO_ANSWER until
    the kernel ends the process.
    """
    os.umask(0o077)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        signal.signal(signal.SIGALRM, _on_alarm)
        signal.alarm(SECONDS)
        serve(sys.stdin.buffer, sys.stdout.buffer)
    finally:
        # No server looks at the exit status, and an orderly end of the interpreter takes 2 ms.
        os._exit(0)


def answer_request(config: str | None, request: Request) -> Answer:
    """Return the answer to a request; an error is logged and answered with status 503.

    ``config`` is the path of repos.yml; None: it is searched for in the usual places.
    """
    path = None
    try:
        path = find_config(config)
        loaded = load_webhook_config(path)

        def wake(repo: str) -> None:
            wake_worker(path, loaded.env_names, loaded.state_dir, repo)

        return receive(request, loaded, now=time.time(), wake=wake)
    except DeployctlError as error:
        _log(path, str(error))
        return unavailable()
    except Exception:  # noqa: BLE001 - a bug must not leave the forge without an answer
        from traceback import format_exc

        _log(path, format_exc())
        return unavailable()


def timeout_answer(request: Request) -> Answer:
    """Return the answer to a request that took too long.

    The status is 400 if the client did not send the body that it had announced, else 503.
    """
    if request.is_reading_body:
        return Answer(400, "malformed", f"the body did not come within {SECONDS} s")
    return unavailable()


def status_line(answer: Answer) -> str:
    """Return the HTTP status with its phrase, such as ``202 Accepted``."""
    return f"{answer.status} {_PHRASES[answer.status]}"


def response_bytes(lines: list[str], answer: Answer) -> bytes:
    """Return ``lines``, the constant headers and the body of an answer.

    No text of the request gets into the headers.
    """
    body = answer.body()
    lines = [
        *lines,
        "Content-Type: application/json",
        "Cache-Control: no-store",
        f"Content-Length: {len(body)}",
    ]
    if answer.status == 405:
        lines.append("Allow: POST")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _log(config: str | None, message: str) -> None:
    """Append a message to ``logs/webhook.log`` in the state directory; clients never see it.

    Any client can cause messages. So a log beyond MAX_LOG is renamed to ``webhook.log.1``: the log
    does not fill the disk, and new messages are still written.
    """
    state_dir = guess_state_dir(config) if config else None
    if state_dir is None or not belongs_to_this_account(state_dir):
        return
    path = os.path.join(state_dir, "logs", "webhook.log")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.write(log, f"{stamp} webhook\n{message}\n".encode(errors="backslashreplace"))
        if os.fstat(log).st_size > MAX_LOG:
            os.rename(path, f"{path}.1")
        os.close(log)
    except OSError:
        return


def _on_alarm(_number: int, _frame: FrameType | None) -> None:
    """Raise OutOfTime; let the next SIGALRM, after SECONDS_TO_ANSWER, end this process."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS_TO_ANSWER)
    raise OutOfTime
