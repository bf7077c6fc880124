"""One webhook request in, one answer out, whatever happens: what CGI and inetd have in common.

Both give a program nothing but its standard files, and take what it says on stderr for its
answer, or a part of it; and nobody ends a program that hangs.
"""

from __future__ import annotations

import os
import sys
import time

from deployctl.config.compiled import load_webhook_config, probable_state_dir
from deployctl.config.locate import find_config
from deployctl.errors import DeployctlError
from deployctl.system.lean import signal
from deployctl.system.trust import is_own
from deployctl.system.wake import wake_worker
from deployctl.webhook.receive import Answer, receive, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import BinaryIO, NoReturn

    from deployctl.webhook.request import Request

# The forges hang up after 5 to 10 s; a hung program would hold one of fcgiwrap's few places.
SECONDS = 10
SECONDS_TO_ANSWER = 2
MAX_LOG = 1024 * 1024
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
    """The alarm went off; it does so once."""


def run(serve: Callable[[BinaryIO, BinaryIO], None]) -> NoReturn:
    """Let ``serve`` read its request from stdin and write the answer to stdout; end the process.

    ``serve`` has SECONDS until OutOfTime is raised in it, and then SECONDS_TO_ANSWER.
    """
    os.umask(0o077)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        signal.signal(signal.SIGALRM, _out_of_time)
        signal.alarm(SECONDS)
        serve(sys.stdin.buffer, sys.stdout.buffer)
    finally:
        # No server looks at the exit status, and an interpreter's orderly end takes 2 ms.
        os._exit(0)


def decide(config: str | None, request: Request) -> Answer:
    """The answer to a request by the repos.yml at ``config``; None: it is searched for."""
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
    except Exception:  # noqa: BLE001 - the edge: a bug must not leave the forge without an answer
        from traceback import format_exc

        _log(path, format_exc())
        return unavailable()


def out_of_time(request: Request) -> Answer:
    """Whose fault it was: the client's, which did not send what it had announced, or ours."""
    if request.is_awaited:
        return Answer(400, "malformed", f"the body did not come within {SECONDS} s")
    return unavailable()


def status(answer: Answer) -> str:
    """Its status and what that means: ``202 Accepted``."""
    return f"{answer.status} {_PHRASES[answer.status]}"


def response(lines: list[str], answer: Answer) -> bytes:
    """The answer after ``lines``; nothing that came with the request gets into its headers."""
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


def _log(config: str | None, what: str) -> None:
    """Keep what went wrong where ``deployctl`` keeps its state; it never goes to the client.

    A full log becomes the old one: strangers can write into it, and must not silence it.
    """
    state_dir = probable_state_dir(config) if config else None
    if state_dir is None or not is_own(state_dir):
        return
    path = os.path.join(state_dir, "logs", "webhook.log")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.write(log, f"{stamp} webhook\n{what}\n".encode(errors="backslashreplace"))
        if os.fstat(log).st_size > MAX_LOG:
            os.rename(path, f"{path}.1")
        os.close(log)
    except OSError:
        return


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    """Once: time enough is left to say so, and then the kernel ends this process."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS_TO_ANSWER)
    raise OutOfTime
