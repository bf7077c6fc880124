"""Read values from a forge's JSON strictly: a value of the wrong type raises MalformedError."""

from __future__ import annotations

from deployctl.values.skip_marker import asks_to_skip
from deployctl.webhook.forges.event import Check, Event, Push
from deployctl.webhook.payload import MalformedError, member, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from deployctl.webhook.forges.event import State

_LONGEST_REF = 1024  # no file system has room for longer names of refs
_HEX = frozenset("0123456789abcdef")


def nested(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the object at this path of names; an empty one where there is none."""
    for name in names:
        document = member(document, name, dict) or {}
    return document


def text(document: dict[str, Any], *names: str) -> str:
    """Return the text at this path of names; empty where there is none."""
    return member(nested(document, *names[:-1]), names[-1], str) or ""


def object_list(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the list of objects with this name; empty where there is none."""
    items = member(document, name, list) or []
    if not all(isinstance(item, dict) for item in items):
        raise MalformedError(f"{name} is not a list of objects")
    return items


def number_as_ids(document: dict[str, Any], name: str) -> list[str]:
    """Return a number as a list of texts: one, or none where it is absent."""
    value = member(document, name, int)
    return [] if value is None else [str(value)]


def make_push(
    ref: str, revision: str | None, *, deleted: bool | None = False, message: str = ""
) -> Push:
    """Return a Push.

    ``revision`` None: the forge does not say; all zeros: the ref was deleted. ``message`` is the
    message of the commit.
    """
    if not ref or len(ref) > _LONGEST_REF or not (revision is None or _is_revision(revision)):
        raise MalformedError("a push without a ref, or without a whole revision")
    is_deleted = bool(deleted) or (revision is not None and not revision.strip("0"))
    subject = message.partition("\n")[0]
    return Push(
        ref,
        None if is_deleted else revision,
        deleted=is_deleted,
        subject=printable(subject) or None,
        skips=asks_to_skip(subject),
    )


def set_check(
    event: Event, revision: str, context: str, state: State, branches: list[str], *, mark: str
) -> None:
    """Make the event a report about a check of a commit, which is on these branches.

    An empty ``revision`` leaves the event as it is. The attributes of Check explain the rest.
    """
    if not revision:
        return
    if not _is_revision(revision):
        raise MalformedError("a check without a whole revision")
    event.kind = "check"
    refs = [f"refs/heads/{name}" for name in branches if name]
    event.check = Check(revision, context, state, refs, mark)


def message_of(revision: str, commits: Iterable[dict[str, Any]], key: str = "id") -> str:
    """Return the message of a commit in a list; empty where it is not there: forges cut the lists.

    ``key`` is the member with the revision.
    """
    found = (commit for commit in commits if revision and commit.get(key) == revision)
    return text(next(found, {}), "message")


def set_actor(event: Event, *names: str) -> None:
    """Set the actor of the event to the first of these names that is not empty."""
    event.actor = next((shown for name in names if (shown := printable(name))), "")


def _is_revision(value: str) -> bool:
    """Tell whether a text is a whole object id: 40 digits with SHA-1, 64 with SHA-256."""
    return len(value) in (40, 64) and _HEX.issuperset(value)
