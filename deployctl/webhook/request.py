"""The HTTP request of a delivery, in the same form for CGI and for inetd.

Every delivery loads this module, so it imports nothing that is not loaded anyway.
"""

from __future__ import annotations

from deployctl.webhook.payload import MAX_DIGITS, MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class Readable(Protocol):
        """A stream of a body; ``read`` returns ``limit`` bytes, or fewer where the body ends."""

        def read(self, limit: int, /) -> bytes: ...


JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
# Bytes: so much of a body is read and dropped, in pieces of CHUNK.
MAX_DRAINED = 32 * 1024 * 1024
CHUNK = 64 * 1024
_DIGITS = frozenset("0123456789")
_TOO_LARGE = "the body is too large"


class Request:
    """An HTTP request, whose body is read on demand.

    ``path`` is the part of the URL's path after the script's name. ``headers`` have lower-case
    names; ``content-length`` is absent or empty where the server gave none. ``body`` is the part
    that was read from ``stream`` so far; ``is_reading_body`` is true while it is being read.
    """

    __slots__ = ("_bytes_read", "_stream", "body", "headers", "is_reading_body", "method", "path")

    def __init__(
        self, method: str, path: str, headers: Mapping[str, str], stream: Readable
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = b""
        self.is_reading_body = False
        self._stream = stream
        self._bytes_read = 0

    @property
    def is_form(self) -> bool:
        """Tell whether the body is a form, which holds the JSON in a field."""
        return self._media_type() == FORM

    def read_body(self, limit: int) -> bytes:
        """Read and return the whole body.

        Raise MalformedError if it has more than ``limit`` bytes, if the request is not a POST of
        JSON or of a form, or if its length is missing or wrong.
        """
        if self.method != "POST":
            raise MalformedError("only POST is answered here", 405)
        length = self._length()
        if self._media_type() not in (JSON, FORM):
            raise MalformedError(f"the Content-Type is neither {JSON} nor {FORM}", 415)
        if length is not None and length > limit:
            raise MalformedError(_TOO_LARGE, 413)
        self.body = self._read(limit + 1 if length is None else length)
        if len(self.body) > limit:
            raise MalformedError(_TOO_LARGE, 413)
        if length is not None and len(self.body) < length:
            raise MalformedError("the body is shorter than its Content-Length")
        return self.body

    def drain(self) -> None:
        """Read and drop the rest of the body.

        fcgiwrap passes on no answer before it has written the whole body to the program. If more
        than the 64 KiB of a pipe are unread, nginx answers 502 in place of the program's answer.
        """
        left = min(self._longest_length(), MAX_DRAINED) - self._bytes_read
        while left > 0:
            data = self._stream.read(min(left, CHUNK))
            if not data:
                return
            left -= len(data)

    def _read(self, limit: int) -> bytes:
        self.is_reading_body = True
        try:
            body = self._stream.read(limit)
        except OSError:
            raise MalformedError("the connection broke within the body") from None
        self.is_reading_body = False
        self._bytes_read = len(body)
        return body

    def _length(self) -> int | None:
        """Return the Content-Length; None for a chunked body, which ends where the stream ends."""
        text = self.headers.get("content-length", "")
        if not text and "transfer-encoding" not in self.headers:
            raise MalformedError("the Content-Length is missing", 411)
        if text and not _is_length(text):
            raise MalformedError("the Content-Length is not a number of bytes")
        return int(text) if text else None

    def _longest_length(self) -> int:
        """Return how many bytes the body can have at most.

        Reading must not go beyond, as an end of file need not follow the body (RFC 3875, 4.2).
        """
        text = self.headers.get("content-length", "")
        if _is_length(text):
            return int(text)
        return MAX_DRAINED if not text and "transfer-encoding" in self.headers else 0

    def _media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_length(text: str) -> bool:
    """Tell whether a text is digits 0 to 9 only.

    int() also accepts signs, blanks, underscores and the digits of every script.
    """
    return 1 <= len(text) <= MAX_DIGITS and _DIGITS.issuperset(text)
