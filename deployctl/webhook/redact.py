"""Hide secrets in what is stored of a delivery.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

from binascii import b2a_base64

from deployctl.system.lean import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = "[hidden]"
# Members of a body that are a secret themselves: Coding and Gitee have had theirs there, and Gitea
# before 1.14.
SECRET_MEMBERS = ("password", "secret", "sign", "token")
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
_SHORTEST = 6  # characters; to hide shorter ones would punch holes into ordinary words


class Redactor:
    """Takes secrets out of what is kept.

    As they are, as JSON spells them, URL-quoted and in base64; ``thorough``, for what nobody has
    proved to have sent and so may be anything, also line by line, in the base64 of URLs, and what
    members of such names have as value.
    """

    __slots__ = ("_forms", "_thorough")

    def __init__(self, secrets: Iterable[str], *, thorough: bool = False) -> None:
        found = [form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)]
        self._forms = sorted(found, key=len, reverse=True)
        self._thorough = thorough

    def text(self, text: str) -> str:
        if self._thorough:
            return self._search(text)
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def data(self, data: bytes) -> bytes:
        text = data.decode("utf-8", "surrogateescape")
        return self.text(text).encode("utf-8", "surrogateescape")

    def _search(self, text: str) -> str:
        import re

        from deployctl.values.masking import Masker

        masked = Masker(self._forms).mask_text(text)
        names = "|".join(SECRET_MEMBERS)
        return re.sub(rf'("(?:{names})"\s*:\s*")[^"]*', rf"\g<1>{HIDDEN}", masked)


def _forms(secret: str) -> set[str]:
    """A text as it is, as JSON has it between quotes (in ASCII, or not), in a URL and in base64."""
    escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
    as_json = {quote(secret)[1:-1], escaped, escaped.replace("/", "\\/")}
    return {secret, *as_json, *_url_quoted(secret), *_base64(secret.encode("utf-8", "replace"))}


def _url_quoted(secret: str) -> list[str]:
    """With and without a quoted slash; a blank is + in a form (urllib is too heavy here)."""
    data = secret.encode("utf-8", "surrogateescape")
    whole = "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in data)
    return [whole, whole.replace("%2F", "/"), whole.replace("%20", "+")]


def _base64(data: bytes) -> list[str]:
    """What base64 shows of it whatever stands before it: see values/masking.py."""
    shifted = (b2a_base64(bytes(before) + data, newline=False) for before in range(3))
    return [
        digits[-(-before * 8 // 6) : (before + len(data)) * 8 // 6].decode()
        for before, digits in enumerate(shifted)
    ]
