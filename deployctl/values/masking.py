"""Output made fit to be seen: secrets hidden, control characters visible."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = b"[hidden]"

_URLSAFE = bytes.maketrans(b"+/", b"-_")
_SHORTEST = 6  # characters; hiding shorter values would punch holes into ordinary words

# C0 but tab and newline, DEL, C1; bidirectional controls, with which a text can look like another
# one (Unicode TR 36); the line separators; surrogates, which no terminal can be sent.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Masker:
    """Hides secrets in a stream of bytes, wherever it is cut, or in a whole text.

    Hidden are values of 6 characters and more, and each such line of theirs: as they are, in
    base64, URL-quoted and as JSON has them. Not found: base64 broken into lines, and what a step
    transforms itself.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(values)
        parts = {part for value in self._values for part in _parts(value)}
        self._needles = frozenset(form for part in parts for form in _forms(part))
        self._held = b""
        self._hidden = 0  # how many of the held bytes belong to a secret already replaced

    def another(self) -> Masker:
        """One for another stream."""
        return Masker(self._values)

    def mask(self, chunk: bytes) -> bytes:
        """What of the stream can be shown by now; an end that may be half a secret is held back."""
        data = self._held + chunk
        return self._advance(data, self._settled(data))

    def flush(self) -> bytes:
        """What was held back: the stream ends here."""
        return self._advance(self._held, len(self._held))

    def mask_text(self, text: str) -> str:
        """A whole text with its secrets hidden; the stream is not touched."""
        data = text.encode(errors="surrogatepass")
        return self._hide(data, len(data), 0)[0].decode(errors="surrogatepass")

    def _advance(self, data: bytes, cut: int) -> bytes:
        shown, position = self._hide(data, cut, self._hidden)
        self._held, self._hidden = data[cut:], max(0, position - cut)
        return shown

    def _hide(self, data: bytes, cut: int, position: int) -> tuple[bytes, int]:
        """The data from ``position`` to ``cut`` with secrets replaced, and where the last ends.

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
        """Start and end of all secrets; one find() a needle is ten times faster than a regex."""
        for needle in self._needles:
            start = data.find(needle)
            while start >= 0:
                yield start, start + len(needle)
                start = data.find(needle, start + 1)

    def _settled(self, data: bytes) -> int:
        """Up to where more data cannot change anything: there the first half secret begins."""
        return min((_half(data, needle) for needle in self._needles), default=len(data))


def escape_controls(text: str) -> str:
    """Control characters as ``\\x1b`` or ``\\u202e``; newlines and tabs stay."""
    return _CONTROLS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _half(data: bytes, needle: bytes) -> int:
    """Where the data's longest end begins that is a beginning of the needle."""
    start = data.find(needle[:1], max(0, len(data) - len(needle) + 1))
    while start >= 0 and not needle.startswith(data[start:]):
        start = data.find(needle[:1], start + 1)
    return start if start >= 0 else len(data)


def _parts(value: str) -> list[str]:
    """The value and its lines, as far as they are long enough to be hidden."""
    parts = [value, *(line.strip() for line in value.splitlines())]
    return [part for part in parts if len(part) >= _SHORTEST]


def _forms(part: str) -> Iterator[bytes]:
    """How a value may turn up in output."""
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
    """What a base64 text shows of the value when ``before`` (modulo 3) bytes stand in front of it.

    A digit holds 6 bits (RFC 4648), so only those count that hold nothing of what stands around,
    such as ``user:`` in the header of HTTP's basic authentication.
    """
    encoded = base64.b64encode(bytes(before) + plain)
    first = -(-before * 8 // 6)
    return encoded[first : (before + len(plain)) * 8 // 6]
