"""Bitbucket Cloud.

https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks and .../event-payloads: the
signature is an HMAC with SHA-256 of the body. Its header has the same name as GitHub's one for
SHA-1. One delivery holds all refs of a push, and may hold none. There is no ping. A delivery is
attempted up to two more times, with the same X-Request-UUID.
"""

from __future__ import annotations

from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import make_push, nested, object_list, set_actor, text
from deployctl.webhook.forges.proof import hmac_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Push

NAME = "bitbucket"
HEADER = "x-hub-signature"
WEAKNESS: str | None = None
# Bitbucket used to host Mercurial, too, whose branches were of the type named_branch.
_NAMESPACES = {"branch": "heads", "named_branch": "heads", "tag": "tags"}


def verify(delivery: Delivery, secret: bytes) -> bool:
    given = delivery.headers.get(HEADER, "")
    return hmac_matches(given, secret, delivery.body, prefix="sha256=")


def read(delivery: Delivery) -> Event:
    name, document = delivery.headers["x-event-key"], delivery.document
    forge_id = delivery.headers.get("x-request-uuid")
    event = Event("push" if name == "repo:push" else "other", name, forge_id)
    repository = nested(document, "repository")
    event.repository_ids = [uuid] if (uuid := text(repository, "uuid")) else []
    event.full_name = text(repository, "full_name") or None
    if event.kind == "push":
        event.pushes = [
            _read_push(change) for change in object_list(nested(document, "push"), "changes")
        ]
        sender = nested(document, "actor")
        set_actor(event, text(sender, "nickname"), text(sender, "display_name"))
    return event


def _read_push(change: dict[str, Any]) -> Push:
    """Return the push of one ref; ``new`` is null if it was deleted, ``old`` if it was created."""
    new = nested(change, "new")
    state = new or nested(change, "old")
    kind, name = text(state, "type"), text(state, "name")
    ref = f"refs/{_NAMESPACES.get(kind, kind)}/{name}" if kind and name else ""
    if not new:
        return make_push(ref, None, deleted=True)
    return make_push(ref, text(new, "target", "hash"), message=text(new, "target", "message"))
