"""Hide secrets in the parts of a delivery that are stored.

Every delivery loads this module, so it imports nothing that is slow to load.
"""

from __future__ import annotations

from binascii import b2a_base64

from deployctl.system.fast_imports import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = "[hidden]"
# Members of a body whose value is a secret: Coding and Gitee send or sent theirs there, and Gitea
# did before 1.14.
SECRET_MEMBERS = ("password", "secret", "sign", "token")
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
# In characters. A shorter secret is not hidden, as it may be a part of ordinary words.
_SHORTEST = 6


class Redactor:
    """A filter that replaces secrets with ``[hidden]``.

    A secret is found as it is, as JSON spells it, URL-quoted, and in base64. With ``thorough``, for
    a request that was not verified and so may contain anything, also its single lines and the
    URL-safe base64 are found, and the values of SECRET_MEMBERS are hidden whatever they are.
    """

    __slots__ = ("_spellings", "_thorough")

    def __init__(self, secrets: Iterable[str], *, thorough: bool = False) -> None:
        long_enough = [secret for secret in secrets if len(secret) >= _SHORTEST]
        spellings = [text for secret in long_enough for text in _spellings_of(secret)]
        self._spellings = sorted(spellings, key=len, reverse=True)
        self._thorough = thorough

    def redact(self, text: str) -> str:
        """Return the text with all secrets hidden."""
        if self._thorough:
            return self._redact_thoroughly(text)
        for spelling in self._spellings:
            text = text.replace(spelling, HIDDEN)
        return text

    def redact_bytes(self, data: bytes) -> bytes:
        """Return the bytes with all secrets hidden; they need not be valid UTF-8."""
        text = data.decode("utf-8", "surrogateescape")
        return self.redact(text).encode("utf-8", "surrogateescape")

    def _redact_thoroughly(self, text: str) -> str:
        import re

        from deployctl.values.masking import Masker

        masked = Masker(self._spellings).mask_text(text)
        names = "|".join(SECRET_MEMBERS)
        return re.sub(rf'("(?:{names})"\s*:\s*")[^"]*', rf"\g<1>{HIDDEN}", masked)


def _spellings_of(secret: str) -> set[str]:
    """Return the spellings of a secret: plain, in JSON (ASCII or not), URL-quoted, in base64."""
    escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
    as_json = {quote(secret)[1:-1], escaped, escaped.replace("/", "\\/")}
    return {secret, *as_json, *_url_quoted(secret), *_base64(secret.encode("utf-8", "replace"))}


def _url_quoted(secret: str) -> list[str]:
    """Return the URL-quoted spellings of a secret.

    A slash may be quoted or not, and a form writes a blank as +. urllib would do this too, but it
    takes too long to import.
    """
    data = secret.encode("utf-8", "surrogateescape")
    whole = "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in data)
    return [whole, whole.replace("%2F", "/"), whole.replace("%20", "+")]


def _base64(data: bytes) -> list[str]:
    """Return the base64 digits that depend on ``data`` alone, for each alignment to three bytes.

    values/masking.py explains this in detail.
    """
    shifted = (b2a_base64(bytes(offset) + data, newline=False) for offset in range(3))
    return [
        digits[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6].decode()
        for offset, digits in enumerate(shifted)
    ]
