"""Read the JSON that GitHub sends, and that Gitea, Gogs, Gitee and Coding send almost alike."""

from __future__ import annotations

from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import (
    make_push,
    message_of,
    nested,
    number_as_ids,
    object_list,
    set_actor,
    set_check,
    text,
)
from deployctl.webhook.payload import member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Kind, Push, State

# Gitea and Forgejo have the states skipped and warning, too.
_STATES: dict[str, State] = {
    **dict.fromkeys(("success", "skipped", "warning"), "success"),
    **dict.fromkeys(("failure", "error"), "failure"),
}


def read_event(kind: Kind, name: str, forge_id: str | None, document: dict[str, Any]) -> Event:
    """Return the event called ``name``, with its push where ``kind`` is a push."""
    event = Event(kind, name, forge_id)
    # The ping of an organisation's webhook has no repository.
    repository = nested(document, "repository")
    event.repository_ids = number_as_ids(repository, "id")
    event.full_name = member(repository, "full_name", str)
    if kind == "push":
        event.pushes = [_read_push(document)]
        pusher = nested(document, "pusher")
        names = (text(pusher, "name"), text(pusher, "login"), text(pusher, "username"))
        set_actor(event, *names, text(document, "sender", "login"))
    return event


def moved_nothing(document: dict[str, Any]) -> bool:
    """Tell whether a push goes from a revision to the same one.

    Forges that have no ping send such a push as their test delivery.
    """
    before = text(document, "before")
    return bool(before) and before == text(document, "after")


def read_status(event: Event, document: dict[str, Any]) -> None:
    """Set the check of an event from the JSON of the event ``status``."""
    branches = [text(branch, "name") for branch in object_list(document, "branches")]
    state = _STATES.get(text(document, "state"), "pending")
    mark = "".join(number_as_ids(document, "id")).rjust(20, "0")
    set_check(event, text(document, "sha"), text(document, "context"), state, branches, mark=mark)


def _read_push(document: dict[str, Any]) -> Push:
    """Return the push.

    For an annotated tag ``after`` is the tag object, and ``head_commit`` the commit it points to.
    """
    after = text(document, "after")
    message = text(document, "head_commit", "message")
    commit = text(document, "head_commit", "id")
    return make_push(
        text(document, "ref"),
        commit if commit and after.strip("0") else after,
        deleted=member(document, "deleted", bool),
        message=message or message_of(after, object_list(document, "commits")),
    )
