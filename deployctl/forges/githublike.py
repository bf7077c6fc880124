"""The document that GitHub made, and that Gitea, Gogs, Gitee and Coding send much the same."""

from __future__ import annotations

from deployctl.forges.event import Event
from deployctl.forges.fields import actor, inner, message_of, number, objects, push, text
from deployctl.payload import member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.forges.event import Kind, Push


def read_as(kind: Kind, name: str, forge_id: str | None, document: dict[str, Any]) -> Event:
    """The event called ``name``; what it pushed where ``kind`` is a push."""
    event = Event(kind, name, forge_id)
    # The ping of an organisation's webhook has no repository.
    repository = inner(document, "repository")
    event.repository_ids = number(repository, "id")
    event.full_name = member(repository, "full_name", str)
    if kind == "push":
        event.pushes = [_push(document)]
        pusher = inner(document, "pusher")
        names = (text(pusher, "name"), text(pusher, "login"), text(pusher, "username"))
        actor(event, *names, text(document, "sender", "login"))
    return event


def moved_nothing(document: dict[str, Any]) -> bool:
    """A test delivery where there is no ping: a push from a revision to the same one."""
    before = text(document, "before")
    return bool(before) and before == text(document, "after")


def _push(document: dict[str, Any]) -> Push:
    after = text(document, "after")
    message = text(document, "head_commit", "message")
    return push(
        text(document, "ref"),
        after,
        deleted=member(document, "deleted", bool),
        message=message or message_of(after, objects(document, "commits")),
    )
