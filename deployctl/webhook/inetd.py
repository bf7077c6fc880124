"""Answer a delivery over HTTP/1.1 (RFC 9110 and 9112) for inetd, xinetd or systemd.

They pass the connection as stdin and stdout. One connection carries one request and one answer.
Requests are read strictly, because a proxy in front must not understand a request in another way
than this module: lines end in CRLF, a header stands on one line and has one meaning, a body has one
length. There is no TLS: put this behind a server that has it.
"""

from __future__ import annotations

import os
import re
import time

from deployctl.webhook.payload import MalformedError
from deployctl.webhook.receive import Answer, unavailable
from deployctl.webhook.request import CHUNK, MAX_DRAINED, Request
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
    from collections.abc import Iterator
    from typing import BinaryIO, NoReturn

    from deployctl.webhook.request import Readable

PREFIX = "/deploy.cgi"
# In bytes, but for MAX_HEADERS, which is a number of lines; MAX_HEAD is for all headers together.
MAX_REQUEST_LINE = 8 * 1024
MAX_HEADERS = 100
MAX_HEAD = 32 * 1024
MAX_CHUNK_LINE = 256
# A client that sends nothing for so long after the answer has read it, or will never read it.
SECONDS_OF_SILENCE = 1
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%s) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_HEADER = re.compile(rb"(%s):([\t -~\x80-\xff]*)" % _TOKEN)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t -~\x80-\xff]*)?")
_TARGET = re.compile(rb"(?:https?://[^/?#]+)?((?:/(?:[^?#%]|%[0-9A-Fa-f]{2})*)?)(?:\?.*)?", re.I)
_ESCAPE = re.compile(rb"%(..)")
_NOT_REPEATABLE = frozenset(
    ("content-length", "content-type", "expect", "host", "transfer-encoding")
)


def main(config: str | None = None) -> NoReturn:
    """Answer the request on the connection that this process was started for, and end the process.

    ``config`` is the path of repos.yml; None: it is searched for in the usual places.
    """
    run(lambda stdin, stdout: serve(config, stdin, stdout))


def serve(config: str | None, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Read one request from ``stdin``, write its answer to ``stdout`` and close the connection."""
    answer, is_head, request = unavailable(), False, None
    try:
        request = read_request(stdin, stdout)
        is_head = request.method == "HEAD"
        answer = answer_request(config, request)
    except MalformedError as error:
        answer = Answer(error.status, "malformed", str(error))
    except OutOfTime:
        answer = timeout_answer(request) if request else answer
    stdout.write(_response(answer, is_head=is_head))
    stdout.flush()
    _linger(stdout)


def read_request(stdin: BinaryIO, stdout: BinaryIO) -> Request:
    """Read the request line and the headers, and return the request; its body is read later.

    If the client waits for ``100 Continue`` before it sends the body, that is written to ``stdout``
    when the body is read. Raise MalformedError, which has the HTTP status, for an invalid request.
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
        _check_http_1_0(headers)
    else:
        _check_http_1_1(headers)
    path = path_info(target) if method == b"POST" else ""
    return Request(method.decode("ascii"), path, headers, _body(stdin, stdout, headers))


def path_info(target: bytes) -> str:
    """Return the path after the script's name: ``/deploy.cgi/app?a=b`` -> ``/app``.

    The target ``/`` is accepted too, for a proxy that removes the script's name. Raise
    MalformedError for any other target.
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
    """A decoder of a chunked body (RFC 9112, 7.1); it ignores chunk extensions and trailers."""

    __slots__ = ("_bytes_left", "_has_ended", "_stream")

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._bytes_left = 0
        self._has_ended = False

    def read(self, limit: int) -> bytes:
        """Return the next ``limit`` bytes of the body; fewer where it ends."""
        parts = []
        while limit > 0 and (self._bytes_left or self._begin_chunk()):
            part = self._stream.read(min(limit, self._bytes_left))
            if not part:
                raise MalformedError("the body ends within a chunk")
            parts.append(part)
            limit -= len(part)
            self._bytes_left -= len(part)
            self._end_chunk()
        return b"".join(parts)

    def _begin_chunk(self) -> bool:
        """Read the size of the next chunk; return False for the last chunk, which is empty."""
        if self._has_ended:
            return False
        size = _CHUNK_SIZE.fullmatch(_line(self._stream, MAX_CHUNK_LINE, 400))
        if size is None:
            raise MalformedError("the size of a chunk is malformed")
        self._bytes_left = int(size[1], 16)
        self._has_ended = not self._bytes_left
        if self._has_ended:
            _headers(_lines(self._stream, MAX_HEAD))
        return not self._has_ended

    def _end_chunk(self) -> None:
        if not self._bytes_left and self._stream.read(2) != b"\r\n":
            raise MalformedError("a chunk does not end where its size says")


class _BodyAfterContinue:
    """A body that the client sends only after it got ``100 Continue`` (RFC 9110, 10.1.1)."""

    __slots__ = ("_body", "_interim_response", "_stdout")

    def __init__(self, body: Readable, stdout: BinaryIO) -> None:
        self._body = body
        self._stdout = stdout
        self._interim_response = b"HTTP/1.1 100 Continue\r\n\r\n"

    def read(self, limit: int) -> bytes:
        self._stdout.write(self._interim_response)
        self._stdout.flush()
        self._interim_response = b""
        return self._body.read(limit)


def _body(stdin: BinaryIO, stdout: BinaryIO, headers: dict[str, str]) -> Readable:
    body: Readable = _Chunks(stdin) if "transfer-encoding" in headers else stdin
    return _BodyAfterContinue(body, stdout) if "expect" in headers else body


def _line(stdin: BinaryIO, limit: int, too_long: int) -> bytes:
    """Read one line and return it without CR and LF.

    ``too_long`` is the HTTP status of the MalformedError for a line of more than ``limit`` bytes.
    """
    line = stdin.readline(limit + 2)
    if line.endswith(b"\r\n"):
        return line[:-2]
    if len(line) == limit + 2:
        raise MalformedError(f"a line is longer than {limit} bytes", too_long)
    raise MalformedError("a line does not end with CR and LF")


def _lines(stdin: BinaryIO, limit: int) -> Iterator[bytes]:
    """Yield the lines up to the empty one, at most ``limit`` bytes in all."""
    for _ in range(MAX_HEADERS + 1):
        line = _line(stdin, limit, 431)
        if not line:
            return
        yield line
        limit -= len(line)
    raise MalformedError(f"there are more than {MAX_HEADERS} headers", 431)


def _headers(lines: Iterator[bytes]) -> dict[str, str]:
    """Return the headers by lower-case name; repeated ones are joined (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for line in lines:
        parts = _HEADER.fullmatch(line)
        if parts is None:
            raise MalformedError("a header is malformed")
        name = parts[1].decode("ascii").lower()
        value = parts[2].strip(b" \t").decode("utf-8", "surrogateescape")
        if name in found and name in _NOT_REPEATABLE:
            raise MalformedError(f"the header {name} occurs twice")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _check_http_1_1(headers: dict[str, str]) -> None:
    """Raise MalformedError where a request breaks a rule of HTTP/1.1.

    Only those rules are checked on which the length of the body or the security depends.
    """
    if "host" not in headers:
        raise MalformedError("the header host is missing")
    if "transfer-encoding" in headers:
        if "content-length" in headers:
            raise MalformedError("there are both a Content-Length and a Transfer-Encoding")
        if headers["transfer-encoding"].lower() != "chunked":
            raise MalformedError("the only Transfer-Encoding taken here is chunked", 501)
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise MalformedError("the only Expect met here is 100-continue", 417)


def _check_http_1_0(headers: dict[str, str]) -> None:
    """Check a request of HTTP/1.0, which some proxies use: it has no chunks and no Expect."""
    if "transfer-encoding" in headers:
        raise MalformedError("HTTP/1.0 has no Transfer-Encoding")
    headers.pop("expect", None)


def _response(answer: Answer, *, is_head: bool) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    lines = [f"HTTP/1.1 {status_line(answer)}", f"Date: {date}", "Connection: close"]
    head, end, body = response_bytes(lines, answer).partition(b"\r\n\r\n")
    return head + end + (b"" if is_head else body)


def _linger(stdout: BinaryIO) -> None:
    """Read and drop the bytes that the client still sends, then close the connection.

    If a connection is closed with unread bytes, the kernel resets it, and the client may lose the
    answer (RFC 9112, 9.6).
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
