"""Bitbucket Server and Bitbucket Data Center.

https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html and
.../manage-webhooks-938025878.html: the signature is an HMAC with SHA-256 of the body. One
delivery holds all refs of a push, and may hold none. A mirror reports the same pushes after it has
fetched them. The button that tests the connection sends ``diagnostics:ping``.
"""

from __future__ import annotations

from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import (
    make_push,
    nested,
    number_as_ids,
    object_list,
    set_actor,
    text,
)
from deployctl.webhook.forges.proof import basic_password_matches, hmac_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Kind, Push

NAME = "bitbucket-server"
HEADER = "x-hub-signature"
WEAKNESS: str | None = None
_KINDS: dict[str, Kind] = {
    "repo:refs_changed": "push",
    "mirror:repo_synchronized": "push",
    "diagnostics:ping": "ping",
}


def verify(delivery: Delivery, secret: bytes) -> bool:
    """Tell whether the signature fits; a hook without one may send the secret as a password."""
    given = delivery.headers.get(HEADER)
    if given is None:
        return basic_password_matches(delivery.headers.get("authorization", ""), secret)
    return hmac_matches(given, secret, delivery.body, prefix="sha256=")


def read(delivery: Delivery) -> Event:
    name, document = delivery.headers["x-event-key"], delivery.document
    event = Event(_KINDS.get(name, "other"), name, delivery.headers.get("x-request-id"))
    repository = nested(document, "repository") or nested(
        document, "pullRequest", "toRef", "repository"
    )
    event.repository_ids = number_as_ids(repository, "id")
    project, slug = text(repository, "project", "key"), text(repository, "slug")
    event.full_name = f"{project}/{slug}" if project and slug else None
    if event.kind == "push":
        event.pushes = [_read_push(change) for change in object_list(document, "changes")]
        sender = nested(document, "actor")
        set_actor(event, text(sender, "name"), text(sender, "displayName"))
    return event


def _read_push(change: dict[str, Any]) -> Push:
    deleted = text(change, "type") == "DELETE"
    return make_push(text(change, "ref", "id"), text(change, "toHash"), deleted=deleted)
