"""Build what is stored of a delivery: enough to explain it and to run it again, and no secret.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

from deployctl.store.deliveries import StoredRequest
from deployctl.system.lean import to_json
from deployctl.webhook.forges.event import Check, Control, Event, Push
from deployctl.webhook.payload import printable
from deployctl.webhook.redact import HIDDEN, SECRET_MEMBERS, Redactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from deployctl.webhook.forges.event import Delivery

# Of a body this much is kept, in bytes: of one that was verified, of one that anybody can send.
KEPT_BODY = 256 * 1024
KEPT_UNVERIFIED_BODY = 16 * 1024
KEPT_HEADERS = 100
# Headers that are a secret themselves.
_SECRET_HEADERS = frozenset(
    (
        *("authorization", "cookie", "proxy-authorization", "x-codeup-token", "x-coding-token"),
        *("x-gitee-token", "x-gitlab-token", "x-token"),
    )
)
_SCHEMES = ("basic ", "bearer ", "token ")


def stored_request(
    headers: Mapping[str, str],
    body: bytes,
    document: dict[str, Any] | None,
    redactor: Redactor,
    *,
    verified: bool,
) -> StoredRequest:
    """Return what is stored of a request, with secrets hidden.

    ``document`` is the body as parsed, None where it could not be read. Of a request that nobody
    proved (``verified`` False) less of the body is kept.
    """
    found = {
        name: _header(name, headers[name], redactor) for name in sorted(headers)[:KEPT_HEADERS]
    }
    shown = body
    if document is not None and any(name in document for name in SECRET_MEMBERS):
        hide = {name: HIDDEN for name in SECRET_MEMBERS if name in document}
        shown = to_json({**document, **hide}).encode()
    most = KEPT_BODY if verified else KEPT_UNVERIFIED_BODY
    return StoredRequest(to_json(found), redactor.data(shown)[:most], len(body))


def _header(name: str, value: str, redactor: Redactor) -> str:
    if name in _SECRET_HEADERS or value.lower().startswith(_SCHEMES):
        return HIDDEN
    return printable(redactor.text(value), 1000)


def facts(event: Event, path: str, redactor: Redactor, *, verified: bool) -> str | None:
    """Return the event as JSON; None where it is too long to be stored, and so to be run again."""
    text = redactor.text(event_to_json(event, path))
    most = KEPT_BODY if verified else KEPT_UNVERIFIED_BODY
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


def delivery_key(event: Event, delivery: Delivery) -> str:
    """What the same delivery has again when it comes again."""
    if event.key is not None and len(event.key) <= 200:
        return event.key
    from deployctl.system.lean import sha256

    return "sha256:" + sha256(delivery.body).hexdigest()
