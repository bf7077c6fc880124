"""What is kept of a delivery: enough to explain it and to run it again, and nothing secret.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

from binascii import b2a_base64

from deployctl.forges.event import Check, Control, Event, Push
from deployctl.payload import printable
from deployctl.system.lean import quote, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from deployctl.forges.event import Delivery

HIDDEN = "[hidden]"
# Of a body this much is kept, in bytes: of one that was verified, of one that anybody can send.
KEPT_BODY = 256 * 1024
KEPT_STRANGE_BODY = 16 * 1024
KEPT_HEADERS = 100
# Headers that are a secret themselves, and members of a body that are (Coding and Gitee have had
# theirs there, and Gitea before 1.14).
_SECRET_HEADERS = frozenset(
    (
        *("authorization", "cookie", "proxy-authorization", "x-codeup-token", "x-coding-token"),
        *("x-gitee-token", "x-gitlab-token", "x-token"),
    )
)
_SECRET_MEMBERS = ("password", "secret", "sign", "token")
_SCHEMES = ("basic ", "bearer ", "token ")
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
_SHORTEST = 6  # characters; to hide shorter ones would punch holes into ordinary words


class Letter:
    """A delivery as it is kept: ``headers`` as JSON, the ``body`` in part, its whole ``size``."""

    __slots__ = ("body", "headers", "size")

    def __init__(self, headers: str, body: bytes, size: int) -> None:
        self.headers = headers
        self.body = body
        self.size = size


class Hider:
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
        names = "|".join(_SECRET_MEMBERS)
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
    """What base64 shows of it whatever stands before it: see masking.py."""
    shifted = (b2a_base64(bytes(before) + data, newline=False) for before in range(3))
    return [
        digits[-(-before * 8 // 6) : (before + len(data)) * 8 // 6].decode()
        for before, digits in enumerate(shifted)
    ]


def kept(
    headers: Mapping[str, str],
    body: bytes,
    document: dict[str, Any] | None,
    hider: Hider,
    *,
    strange: bool,
) -> Letter:
    """What is kept of a request.

    ``document`` is what the body holds, None where it could not be read; ``strange``: nobody has
    proved to have sent it.
    """
    found = {name: _header(name, headers[name], hider) for name in sorted(headers)[:KEPT_HEADERS]}
    shown = body
    if document is not None and any(name in document for name in _SECRET_MEMBERS):
        hide = {name: HIDDEN for name in _SECRET_MEMBERS if name in document}
        shown = to_json({**document, **hide}).encode()
    most = KEPT_STRANGE_BODY if strange else KEPT_BODY
    return Letter(to_json(found), hider.data(shown)[:most], len(body))


def _header(name: str, value: str, hider: Hider) -> str:
    if name in _SECRET_HEADERS or value.lower().startswith(_SCHEMES):
        return HIDDEN
    return printable(hider.text(value), 1000)


def facts(event: Event, path: str, hider: Hider, *, strange: bool) -> str | None:
    """What was read, as it is kept; None where a stranger wrote too much of it to be run again."""
    text = hider.text(event_to_json(event, path))
    most = KEPT_STRANGE_BODY if strange else KEPT_BODY
    return text if len(text) <= most else None


def event_to_json(event: Event, path: str) -> str:
    """What was read of a delivery, so that it can be decided upon again."""
    check, control = event.check, event.control
    facts: dict[str, Any] = {
        "path": path,
        "kind": event.kind,
        "name": event.name,
        "forge_id": event.forge_id,
        "key": event.key,
        "repository_ids": event.repository_ids,
        "full_name": event.full_name,
        "actor": event.actor,
        "pushes": [
            {
                "ref": push.ref,
                "revision": push.revision,
                "deleted": push.deleted,
                "subject": push.subject,
                "skips": push.skips,
            }
            for push in event.pushes
        ],
    }
    if check is not None:
        facts["check"] = [check.revision, check.context, check.state, check.refs, check.mark]
    if control is not None:
        facts["control"] = [control.action, control.repo, control.to]
    return to_json(facts)


def event_from_json(facts: dict[str, Any]) -> Event:
    """The other way round; ``facts`` is the object that :func:`event_to_json` wrote."""
    event = Event(facts["kind"], facts["name"], facts["forge_id"])
    event.key = facts["key"]
    event.repository_ids = facts["repository_ids"]
    event.full_name = facts["full_name"]
    event.actor = facts["actor"]
    event.pushes = [Push(**push) for push in facts["pushes"]]
    if "check" in facts:
        event.check = Check(*facts["check"])
    if "control" in facts:
        event.control = Control(*facts["control"])
    return event


def key_of(event: Event, delivery: Delivery) -> str:
    """What the same delivery has again when it comes again."""
    if event.key is not None and len(event.key) <= 200:
        return event.key
    from deployctl.system.lean import sha256

    return "sha256:" + sha256(delivery.body).hexdigest()
