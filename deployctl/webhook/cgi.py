"""CGI/1.1 (RFC 3875): the request in the environment and on stdin, the answer on stdout.

What the servers do, and this module does about it: fcgiwrap and Apache's mod_cgid pass on no
answer before the whole body is read; a header ``Status`` is all that sets the HTTP status.
"""

from __future__ import annotations

import os

from deployctl.webhook.door import OutOfTime, decide, out_of_time, response, run, status
from deployctl.webhook.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO, NoReturn

    from deployctl.webhook.receive import Answer


def main(config: str | None = None) -> NoReturn:
    """Answer the request that this process was started for, and end it.

    ``config`` is the path of repos.yml; None: it is searched for.
    """
    run(lambda stdin, stdout: serve(config, os.environ, stdin, stdout))


def is_cgi(environ: Mapping[str, str]) -> bool:
    """Whether a web server speaks CGI with us; REMOTE_ADDR tells nothing, systemd sets it too.

    The first is compulsory (RFC 3875, 4.1.4), but a list of fastcgi_params may have lost it.
    """
    return "GATEWAY_INTERFACE" in environ or "REQUEST_METHOD" in environ


def serve(
    config: str | None, environ: Mapping[str, str], stdin: BinaryIO, stdout: BinaryIO
) -> None:
    """Read one request from a CGI environment and ``stdin``, write its answer to ``stdout``."""
    request = Request(
        environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", ""), headers(environ), stdin
    )
    answer = None
    try:
        answer = decide(config, request)
        request.drain()
    except OutOfTime:
        answer = answer or out_of_time(request)
    stdout.write(_response(answer))
    stdout.flush()


def headers(environ: Mapping[str, str]) -> dict[str, str]:
    """The request's headers by lower-case name, as far as CGI passes them on."""
    found = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    # An empty CONTENT_LENGTH is nginx's word for none. The server's own words come last: a
    # header X_ or a second one cannot take their place.
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        found[name.replace("_", "-").lower()] = environ.get(name, "")
    return found


def _response(answer: Answer) -> bytes:
    return response([f"Status: {status(answer)}"], answer)
