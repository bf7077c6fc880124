"""HTTP/1.1 (RFC 9110 and 9112) on the connection that inetd and its like hand on as stdin, stdout.

One request, one answer. Strict, as there may be a proxy in front that must not read another request
than we do: lines end in CRLF, a header stands on one line and has one meaning, a body has one
length. There is no TLS: put this behind a server that has it.
"""

from __future__ import annotations

import os
import re
import time

from deployctl.webhook.door import OutOfTime, decide, out_of_time, response, run, status
from deployctl.webhook.payload import MalformedError
from deployctl.webhook.receive import Answer, unavailable
from deployctl.webhook.request import CHUNK, MAX_DRAINED, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, NoReturn

    from deployctl.webhook.request import Readable

PREFIX = "/deploy.cgi"
MAX_REQUEST_LINE = 8 * 1024
MAX_HEADERS = 100
MAX_HEAD = 32 * 1024
MAX_CHUNK_LINE = 256
# Whoever is silent for so long after the answer has it, or never will.
SECONDS_OF_SILENCE = 1
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%s) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_HEADER = re.compile(rb"(%s):([\t -~\x80-\xff]*)" % _TOKEN)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t -~\x80-\xff]*)?")
_TARGET = re.compile(rb"(?:https?://[^/?#]+)?((?:/(?:[^?#%]|%[0-9A-Fa-f]{2})*)?)(?:\?.*)?", re.I)
_ESCAPE = re.compile(rb"%(..)")
_ONCE = frozenset(("content-length", "content-type", "expect", "host", "transfer-encoding"))


def main(config: str | None = None) -> NoReturn:
    """Answer the request on the connection that this process was started for, and end it.

    ``config`` is the path of repos.yml; None: it is searched for.
    """
    run(lambda stdin, stdout: serve(config, stdin, stdout))


def serve(config: str | None, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Read one request from ``stdin``, write its answer to ``stdout``, close the connection."""
    answer, is_head, request = unavailable(), False, None
    try:
        request = read_request(stdin, stdout)
        is_head = request.method == "HEAD"
        answer = decide(config, request)
    except MalformedError as error:
        answer = Answer(error.status, "malformed", str(error))
    except OutOfTime:
        answer = out_of_time(request) if request else answer
    stdout.write(_response(answer, is_head=is_head))
    stdout.flush()
    _linger(stdout)


def read_request(stdin: BinaryIO, stdout: BinaryIO) -> Request:
    """The request as far as its body, which is read, and asked for on ``stdout``, when wanted.

    MalformedError, with the HTTP status that says it, where it is not one that we take.
    """
    line = _line(stdin, MAX_REQUEST_LINE, 414)
    parts = _REQUEST_LINE.fullmatch(line)
    if parts is None:
        raise MalformedError("the request line is malformed")
    method, target, major, minor = parts.groups()
    if major != b"1":
        raise MalformedError("only HTTP/1.0 and HTTP/1.1 are spoken here", 505)
    headers = _headers(_lines(stdin, MAX_HEAD - len(line)))
    if minor == b"0":
        _check_old(headers)
    else:
        _check(headers)
    path = path_info(target) if method == b"POST" else ""
    return Request(method.decode("ascii"), path, headers, _body(stdin, stdout, headers))


def path_info(target: bytes) -> str:
    """What follows the script's name in a request target: ``/deploy.cgi/app?a=b`` -> ``/app``.

    ``/`` alone will do for the script's name, for a proxy that takes the name off.
    """
    parts = _TARGET.fullmatch(target)
    if parts is None:
        raise MalformedError("the request target is malformed")
    try:
        path = _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), parts[1]).decode()
    except UnicodeDecodeError:
        raise MalformedError("the request target is not in UTF-8") from None
    rest = path.removeprefix(PREFIX)
    if path not in ("", "/") and (rest == path or rest[:1] not in ("", "/")):
        raise MalformedError(f"nothing is here; the webhook is {PREFIX}", 404)
    return rest


class _Chunks:
    """A chunked body (RFC 9112, 7.1), decoded; its extensions and trailers are ignored."""

    __slots__ = ("_has_ended", "_left", "_stream")

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = 0
        self._has_ended = False

    def read(self, most: int) -> bytes:
        """The next ``most`` bytes of the body; fewer where it ends."""
        parts = []
        while most > 0 and (self._left or self._begin_chunk()):
            part = self._stream.read(min(most, self._left))
            if not part:
                raise MalformedError("the body ends within a chunk")
            parts.append(part)
            most -= len(part)
            self._left -= len(part)
            self._end_chunk()
        return b"".join(parts)

    def _begin_chunk(self) -> bool:
        """Whether there is another one; the last of all is empty."""
        if self._has_ended:
            return False
        size = _CHUNK_SIZE.fullmatch(_line(self._stream, MAX_CHUNK_LINE, 400))
        if size is None:
            raise MalformedError("the size of a chunk is malformed")
        self._left = int(size[1], 16)
        self._has_ended = not self._left
        if self._has_ended:
            _headers(_lines(self._stream, MAX_HEAD))
        return not self._has_ended

    def _end_chunk(self) -> None:
        if not self._left and self._stream.read(2) != b"\r\n":
            raise MalformedError("a chunk does not end where its size says")


class _Awaited:
    """A body that the client sends once it is told to (RFC 9110, 10.1.1)."""

    __slots__ = ("_body", "_call", "_stdout")

    def __init__(self, body: Readable, stdout: BinaryIO) -> None:
        self._body = body
        self._stdout = stdout
        self._call = b"HTTP/1.1 100 Continue\r\n\r\n"

    def read(self, most: int) -> bytes:
        self._stdout.write(self._call)
        self._stdout.flush()
        self._call = b""
        return self._body.read(most)


def _body(stdin: BinaryIO, stdout: BinaryIO, headers: dict[str, str]) -> Readable:
    body: Readable = _Chunks(stdin) if "transfer-encoding" in headers else stdin
    return _Awaited(body, stdout) if "expect" in headers else body


def _line(stdin: BinaryIO, most: int, too_long: int) -> bytes:
    """One line without its end; ``too_long`` is the status for more than ``most`` bytes."""
    line = stdin.readline(most + 2)
    if line.endswith(b"\r\n"):
        return line[:-2]
    if len(line) == most + 2:
        raise MalformedError(f"a line is longer than {most} bytes", too_long)
    raise MalformedError("a line does not end with CR and LF")


def _lines(stdin: BinaryIO, most: int) -> Iterator[bytes]:
    """The lines before the empty one, ``most`` bytes at most."""
    for _ in range(MAX_HEADERS + 1):
        line = _line(stdin, most, 431)
        if not line:
            return
        yield line
        most -= len(line)
    raise MalformedError(f"there are more than {MAX_HEADERS} headers", 431)


def _headers(lines: Iterator[bytes]) -> dict[str, str]:
    """By lower-case name; those that may occur twice are joined (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for line in lines:
        parts = _HEADER.fullmatch(line)
        if parts is None:
            raise MalformedError("a header is malformed")
        name = parts[1].decode("ascii").lower()
        value = parts[2].strip(b" \t").decode("utf-8", "surrogateescape")
        if name in found and name in _ONCE:
            raise MalformedError(f"the header {name} occurs twice")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _check(headers: dict[str, str]) -> None:
    """What HTTP/1.1 asks of a client, as far as the body's length and safety depend on it."""
    if "host" not in headers:
        raise MalformedError("the header host is missing")
    if "transfer-encoding" in headers:
        if "content-length" in headers:
            raise MalformedError("there are both a Content-Length and a Transfer-Encoding")
        if headers["transfer-encoding"].lower() != "chunked":
            raise MalformedError("the only Transfer-Encoding taken here is chunked", 501)
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise MalformedError("the only Expect met here is 100-continue", 417)


def _check_old(headers: dict[str, str]) -> None:
    """HTTP/1.0, which some proxies speak: it has no chunks, and an Expect means nothing."""
    if "transfer-encoding" in headers:
        raise MalformedError("HTTP/1.0 has no Transfer-Encoding")
    headers.pop("expect", None)


def _response(answer: Answer, *, is_head: bool) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    lines = [f"HTTP/1.1 {status(answer)}", f"Date: {date}", "Connection: close"]
    head, end, body = response(lines, answer).partition(b"\r\n\r\n")
    return head + end + (b"" if is_head else body)


def _linger(stdout: BinaryIO) -> None:
    """Take in what the client still sends: closed with bytes unread, the kernel resets the
    connection, and the reset destroys the answer at the client's (RFC 9112, 9.6).
    """
    import socket

    left = MAX_DRAINED
    try:
        with socket.socket(fileno=os.dup(stdout.fileno())) as connection:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(SECONDS_OF_SILENCE)
            while left > 0 and (data := connection.recv(CHUNK)):
                left -= len(data)
    except (OSError, OutOfTime):
        return
