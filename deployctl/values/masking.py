"""Hide secrets in output, and make control characters visible."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = b"[hidden]"

_URLSAFE = bytes.maketrans(b"+/", b"-_")
_SHORTEST = 6  # characters; hiding shorter values would also hide parts of ordinary words

# C0 except tab and newline; DEL; C1; bidirectional controls, which can make a text look like
# another one (Unicode TR 36); the line separators; surrogates, which cannot be sent to a terminal.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Masker:
    """Hides secrets in a stream of bytes that comes in chunks of any size, or in a whole text.

    It hides values of 6 characters and more, and each line of 6 characters and more of a value: as
    they are, in base64, URL-quoted and as JSON writes them. It does not find base64 that is broken
    into lines, nor a value that a step has transformed in another way.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(values)
        parts = {part for value in self._values for part in _parts(value)}
        self._needles = frozenset(form for part in parts for form in _forms(part))
        self._held = b""  # the end of the stream so far, which may be the beginning of a secret
        self._hidden = 0  # how many of the held bytes belong to a secret already replaced

    def for_new_stream(self) -> Masker:
        """Return a new masker of the same secrets, for another stream."""
        return Masker(self._values)

    def mask(self, chunk: bytes) -> bytes:
        """Take a chunk of the stream; return the bytes that can be shown by now, masked.

        The end of the data is held back if it may be the beginning of a secret.
        """
        data = self._held + chunk
        return self._advance(data, self._safe_end(data))

    def flush(self) -> bytes:
        """End the stream; return the bytes that were held back, masked."""
        return self._advance(self._held, len(self._held))

    def mask_text(self, text: str) -> str:
        """Return a whole text with its secrets hidden; the stream is not affected."""
        data = text.encode(errors="surrogatepass")
        return self._hide(data, len(data), 0)[0].decode(errors="surrogatepass")

    def _advance(self, data: bytes, cut: int) -> bytes:
        """Return the data up to ``cut``, masked, and hold back the rest."""
        shown, position = self._hide(data, cut, self._hidden)
        self._held, self._hidden = data[cut:], max(0, position - cut)
        return shown

    def _hide(self, data: bytes, cut: int, position: int) -> tuple[bytes, int]:
        """Return the masked data from ``position`` to ``cut``, and where its last secret ends.

        Secrets that overlap are replaced as one.
        """
        shown = []
        for start, end in sorted(self._spans(data)):
            if start >= cut:
                break
            if start >= position:
                shown += [data[position:start], HIDDEN]
            position = max(position, end)
        return b"".join([*shown, data[position:cut]]), position

    def _spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield start and end of each secret in the data.

        ``find`` for each needle is ten times faster than one regular expression.
        """
        for needle in self._needles:
            start = data.find(needle)
            while start >= 0:
                yield start, start + len(needle)
                start = data.find(needle, start + 1)

    def _safe_end(self, data: bytes) -> int:
        """Return the position before which more data cannot change the result.

        There begins the first secret that the end of the data may have cut off.
        """
        return min((_partial_start(data, needle) for needle in self._needles), default=len(data))


def escape_controls(text: str) -> str:
    """Return the text with control characters written as ``\\x1b`` or ``\\u202e``.

    Newlines and tabs stay as they are.
    """
    return _CONTROLS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _partial_start(data: bytes, needle: bytes) -> int:
    """Return where the longest end of the data begins that is also a beginning of the needle.

    The length of the data if there is none.
    """
    start = data.find(needle[:1], max(0, len(data) - len(needle) + 1))
    while start >= 0 and not needle.startswith(data[start:]):
        start = data.find(needle[:1], start + 1)
    return start if start >= 0 else len(data)


def _parts(value: str) -> list[str]:
    """Return the value and its lines, without those that are too short to be hidden."""
    parts = [value, *(line.strip() for line in value.splitlines())]
    return [part for part in parts if len(part) >= _SHORTEST]


def _forms(part: str) -> Iterator[bytes]:
    """Yield the forms in which a value may appear in output."""
    plain = part.encode(errors="surrogatepass")
    yield plain
    for ascii_only in (True, False):
        inside = json.dumps(part, ensure_ascii=ascii_only)[1:-1]
        yield inside.encode(errors="surrogatepass")
        yield inside.replace("/", "\\/").encode(errors="surrogatepass")
    for quoted in (quote(plain), quote(plain, safe=""), quote_plus(plain)):
        yield quoted.encode()
    for before in range(3):
        digits = _inside_base64(plain, before)
        yield digits
        yield digits.translate(_URLSAFE)


def _inside_base64(plain: bytes, before: int) -> bytes:
    """Return the digits of a base64 text that depend on the value alone.

    ``before`` is the number of bytes in front of the value, modulo 3. A digit holds 6 bits
    (RFC 4648), so the first and the last digit of the value may also hold bits of the bytes around
    it, such as ``user:`` in the header of HTTP's basic authentication; those are left out.
    """
    encoded = base64.b64encode(bytes(before) + plain)
    first = -(-before * 8 // 6)
    return encoded[first : (before + len(plain)) * 8 // 6]
