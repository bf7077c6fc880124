"""Answer a delivery by CGI/1.1 (RFC 3875): request in environment and stdin, answer on stdout.

Two facts about web servers shape this module. fcgiwrap and Apache's mod_cgid do not pass on the
answer before the whole body is read. Only a header ``Status`` sets the HTTP status.
"""

from __future__ import annotations

import os

from deployctl.webhook.request import Request
from deployctl.webhook.serving import (
    OutOfTime,
    answer_request,
    response_bytes,
    run,
    status_line,
    timeout_answer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO, NoReturn

    from deployctl.webhook.receive import Answer


def main(config: str | None = None) -> NoReturn:
    """Answer the request that this process was started for, and end the process.

    ``config`` is the path of repos.yml; None: it is searched for in the usual places.
    """
    run(lambda stdin, stdout: serve(config, os.environ, stdin, stdout))


def is_cgi(environ: Mapping[str, str]) -> bool:
    """Tell whether a web server started this process by CGI.

    GATEWAY_INTERFACE is compulsory (RFC 3875, 4.1.4), but a list of fastcgi_params may lack it, so
    REQUEST_METHOD counts too. REMOTE_ADDR does not count, because systemd sets it as well.
    """
    return "GATEWAY_INTERFACE" in environ or "REQUEST_METHOD" in environ


def serve(
    config: str | None, environ: Mapping[str, str], stdin: BinaryIO, stdout: BinaryIO
) -> None:
    """Read one request from ``environ`` and ``stdin``, and write its answer to ``stdout``."""
    request = Request(
        environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", ""), headers(environ), stdin
    )
    answer = None
    try:
        answer = answer_request(config, request)
        request.drain()
    except OutOfTime:
        answer = answer or timeout_answer(request)
    stdout.write(_response(answer))
    stdout.flush()


def headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the request's headers by lower-case name, as far as CGI passes them on."""
    found = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    # nginx sets an empty CONTENT_LENGTH where the request has none. These two variables come from
    # the server itself. They are set last, so that a header that arrives as HTTP_CONTENT_TYPE or
    # HTTP_CONTENT_LENGTH cannot replace them.
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        found[name.replace("_", "-").lower()] = environ.get(name, "")
    return found


def _response(answer: Answer) -> bytes:
    return response_bytes([f"Status: {status_line(answer)}"], answer)
