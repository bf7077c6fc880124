"""Bitbucket Cloud.

https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks and .../event-payloads: the
signature is an HMAC with SHA-256 of the body, under the header in which GitHub sends one with
SHA-1. One delivery holds all refs of a push, and may hold none. There is no ping; up to two more
attempts keep their X-Request-UUID.
"""

from __future__ import annotations

from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import actor, inner, objects, push, text
from deployctl.webhook.forges.proof import hmac_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Push

NAME = "bitbucket"
HEADER = "x-hub-signature"
WEAKNESS: str | None = None
# Mercurial's named branches were branches too.
_NAMESPACES = {"branch": "heads", "named_branch": "heads", "tag": "tags"}


def verify(delivery: Delivery, secret: bytes) -> bool:
    given = delivery.headers.get(HEADER, "")
    return hmac_fits(given, secret, delivery.body, prefix="sha256=")


def read(delivery: Delivery) -> Event:
    name, document = delivery.headers["x-event-key"], delivery.document
    number = delivery.headers.get("x-request-uuid")
    event = Event("push" if name == "repo:push" else "other", name, number)
    repository = inner(document, "repository")
    event.repository_ids = [found] if (found := text(repository, "uuid")) else []
    event.full_name = text(repository, "full_name") or None
    if event.kind == "push":
        event.pushes = [_push(change) for change in objects(inner(document, "push"), "changes")]
        who = inner(document, "actor")
        actor(event, text(who, "nickname"), text(who, "display_name"))
    return event


def _push(change: dict[str, Any]) -> Push:
    """``new`` is null where a ref was deleted, ``old`` where it was made."""
    new = inner(change, "new")
    found = new or inner(change, "old")
    kind, name = text(found, "type"), text(found, "name")
    ref = f"refs/{_NAMESPACES.get(kind, kind)}/{name}" if kind and name else ""
    if not new:
        return push(ref, None, deleted=True)
    return push(ref, text(new, "target", "hash"), message=text(new, "target", "message"))
