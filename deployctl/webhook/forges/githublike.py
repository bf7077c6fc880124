"""The document that GitHub made, and that Gitea, Gogs, Gitee and Coding send much the same."""

from __future__ import annotations

from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import (
    actor,
    check,
    inner,
    message_of,
    number,
    objects,
    push,
    text,
)
from deployctl.webhook.payload import member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Kind, Push, State

# Gitea and Forgejo say skipped and warning, too.
_STATES: dict[str, State] = {
    **dict.fromkeys(("success", "skipped", "warning"), "success"),
    **dict.fromkeys(("failure", "error"), "failure"),
}


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


def read_status(event: Event, document: dict[str, Any]) -> None:
    """The event ``status``: one state of one check of a commit."""
    branches = [text(branch, "name") for branch in objects(document, "branches")]
    state = _STATES.get(text(document, "state"), "pending")
    mark = "".join(number(document, "id")).rjust(20, "0")
    check(event, text(document, "sha"), text(document, "context"), state, branches, mark=mark)


def _push(document: dict[str, Any]) -> Push:
    """Of an annotated tag ``after`` is the tag itself, and ``head_commit`` what it points to."""
    after = text(document, "after")
    message = text(document, "head_commit", "message")
    commit = text(document, "head_commit", "id")
    return push(
        text(document, "ref"),
        commit if commit and after.strip("0") else after,
        deleted=member(document, "deleted", bool),
        message=message or message_of(after, objects(document, "commits")),
    )
