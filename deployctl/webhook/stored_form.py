"""Convert a delivery to the form in which it is stored, and back, without secrets.

Enough is stored to explain a delivery and to run it again.

Every delivery loads this module, so it imports nothing that is slow to load.
"""

from __future__ import annotations

from deployctl.store.deliveries import StoredRequest
from deployctl.system.fast_imports import to_json
from deployctl.webhook.forges.event import Check, Control, Event, Push
from deployctl.webhook.payload import printable
from deployctl.webhook.redact import HIDDEN, SECRET_MEMBERS, Redactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from deployctl.webhook.forges.event import Delivery

# Bytes that are stored of a body: of a verified one, and of one that anybody can send.
KEPT_BODY = 256 * 1024
KEPT_UNVERIFIED_BODY = 16 * 1024
KEPT_HEADERS = 100
# Headers whose value is a secret.
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

    ``document`` is the parsed body, None where it could not be parsed. If a request was
    not verified, less of its body is stored.
    """
    shown_headers = {
        name: _header(name, headers[name], redactor) for name in sorted(headers)[:KEPT_HEADERS]
    }
    shown_body = body
    if document is not None and any(name in document for name in SECRET_MEMBERS):
        hidden = {name: HIDDEN for name in SECRET_MEMBERS if name in document}
        shown_body = to_json({**document, **hidden}).encode()
    limit = KEPT_BODY if verified else KEPT_UNVERIFIED_BODY
    return StoredRequest(
        to_json(shown_headers), redactor.redact_bytes(shown_body)[:limit], len(body)
    )


def _header(name: str, value: str, redactor: Redactor) -> str:
    if name in _SECRET_HEADERS or value.lower().startswith(_SCHEMES):
        return HIDDEN
    return printable(redactor.redact(value), 1000)


def facts(event: Event, path: str, redactor: Redactor, *, verified: bool) -> str | None:
    """Return the event as JSON without secrets; None if it is too long to be stored.

    A delivery without facts cannot be replayed.
    """
    text = redactor.redact(event_to_json(event, path))
    limit = KEPT_BODY if verified else KEPT_UNVERIFIED_BODY
    return text if len(text) <= limit else None


def event_to_json(event: Event, path: str) -> str:
    """Return an event as JSON, with all that a replay needs; ``path`` is the repo in the URL."""
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
    """Return the event in ``facts``, the object that :func:`event_to_json` wrote."""
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
    """Return a text that is equal for a delivery and its redelivery.

    It is the forge's id of the delivery, or a hash of the body where there is no usable id.
    """
    if event.key is not None and len(event.key) <= 200:
        return event.key
    from deployctl.system.fast_imports import sha256

    return "sha256:" + sha256(delivery.body).hexdigest()
