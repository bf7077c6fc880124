"""Bitbucket Server and Bitbucket Data Center.

https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html and
.../manage-webhooks-938025878.html: the signature is an HMAC with SHA-256 of the body. One
delivery holds all refs of a push, and may hold none. A mirror tells of the same pushes once it
has them. The button that tests the connection sends ``diagnostics:ping``.
"""

from __future__ import annotations

from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import actor, inner, number, objects, push, text
from deployctl.webhook.forges.proof import basic_fits, hmac_fits

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
    """Whether it signs the body; or else, as a hook can be set up too, it is the password."""
    given = delivery.headers.get(HEADER)
    if given is None:
        return basic_fits(delivery.headers.get("authorization", ""), secret)
    return hmac_fits(given, secret, delivery.body, prefix="sha256=")


def read(delivery: Delivery) -> Event:
    name, document = delivery.headers["x-event-key"], delivery.document
    event = Event(_KINDS.get(name, "other"), name, delivery.headers.get("x-request-id"))
    repository = inner(document, "repository") or inner(
        document, "pullRequest", "toRef", "repository"
    )
    event.repository_ids = number(repository, "id")
    project, slug = text(repository, "project", "key"), text(repository, "slug")
    event.full_name = f"{project}/{slug}" if project and slug else None
    if event.kind == "push":
        event.pushes = [_push(change) for change in objects(document, "changes")]
        who = inner(document, "actor")
        actor(event, text(who, "name"), text(who, "displayName"))
    return event


def _push(change: dict[str, Any]) -> Push:
    deleted = text(change, "type") == "DELETE"
    return push(text(change, "ref", "id"), text(change, "toHash"), deleted=deleted)
