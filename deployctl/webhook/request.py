"""One HTTP request as an edge hands it on, whatever server it came through.

This module is on the webhook's way and imports nothing that is not loaded anyway.
"""

from __future__ import annotations

from deployctl.webhook.payload import MAX_DIGITS, MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class Readable(Protocol):
        """What a body is read from: ``most`` bytes, or fewer where it ends."""

        def read(self, most: int, /) -> bytes: ...


JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_DRAINED = 32 * 1024 * 1024
CHUNK = 64 * 1024
_DIGITS = frozenset("0123456789")
_TOO_LARGE = "the body is too large"


class Request:
    """``path`` is what follows the script's name in the URL; ``headers`` have lower-case names.

    ``content-length`` is absent where the server gave none; the body is read from ``stream``, and
    ``body`` is what was taken of it; ``is_awaited`` while that takes its time.
    """

    __slots__ = ("_stream", "_taken", "body", "headers", "is_awaited", "method", "path")

    def __init__(
        self, method: str, path: str, headers: Mapping[str, str], stream: Readable
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = b""
        self.is_awaited = False
        self._stream = stream
        self._taken = 0

    @property
    def is_form(self) -> bool:
        return self._media_type() == FORM

    def read_body(self, most: int) -> bytes:
        """The whole body, ``most`` bytes at most; MalformedError where HTTP's rules are broken."""
        if self.method != "POST":
            raise MalformedError("only POST is answered here", 405)
        length = self._length()
        if self._media_type() not in (JSON, FORM):
            raise MalformedError(f"the Content-Type is neither {JSON} nor {FORM}", 415)
        if length is not None and length > most:
            raise MalformedError(_TOO_LARGE, 413)
        self.body = self._read(most + 1 if length is None else length)
        if len(self.body) > most:
            raise MalformedError(_TOO_LARGE, 413)
        if length is not None and len(self.body) < length:
            raise MalformedError("the body is shorter than its Content-Length")
        return self.body

    def drain(self) -> None:
        """Read and drop what is left of the body.

        fcgiwrap passes on no answer before it is rid of the whole body: past the 64 KiB of a
        pipe an answer given earlier becomes a 502.
        """
        left = min(self._end(), MAX_DRAINED) - self._taken
        while left > 0:
            data = self._stream.read(min(left, CHUNK))
            if not data:
                return
            left -= len(data)

    def _read(self, most: int) -> bytes:
        self.is_awaited = True
        try:
            body = self._stream.read(most)
        except OSError:
            raise MalformedError("the connection broke within the body") from None
        self.is_awaited = False
        self._taken = len(body)
        return body

    def _length(self) -> int | None:
        """Content-Length; None where a chunked body ends at the end of the stream."""
        text = self.headers.get("content-length", "")
        if not text and "transfer-encoding" not in self.headers:
            raise MalformedError("the Content-Length is missing", 411)
        if text and not _is_length(text):
            raise MalformedError("the Content-Length is not a number of bytes")
        return int(text) if text else None

    def _end(self) -> int:
        """Where the body ends at the latest; no EOF is promised after it (RFC 3875, 4.2)."""
        text = self.headers.get("content-length", "")
        if _is_length(text):
            return int(text)
        return MAX_DRAINED if not text and "transfer-encoding" in self.headers else 0

    def _media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_length(text: str) -> bool:
    """int() would also take signs, blanks, underscores and the digits of every script."""
    return 1 <= len(text) <= MAX_DIGITS and _DIGITS.issuperset(text)
