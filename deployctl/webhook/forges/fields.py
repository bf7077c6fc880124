"""How the forge modules read a document: strictly, a wrong type anywhere is a MalformedError."""

from __future__ import annotations

from deployctl.values.skip_marker import asks_to_skip
from deployctl.webhook.forges.event import Check, Event, Push
from deployctl.webhook.payload import MalformedError, member, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from deployctl.webhook.forges.event import State

_LONGEST_REF = 1024  # bytes; more has no file system room for
_HEX = frozenset("0123456789abcdef")


def inner(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """The object behind these names, one in the other; empty where there is none."""
    for name in names:
        document = member(document, name, dict) or {}
    return document


def text(document: dict[str, Any], *names: str) -> str:
    """The text behind these names; empty where there is none."""
    return member(inner(document, *names[:-1]), names[-1], str) or ""


def objects(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects; empty where there is none."""
    items = member(document, name, list) or []
    if not all(isinstance(item, dict) for item in items):
        raise MalformedError(f"{name} is not a list of objects")
    return items


def number(document: dict[str, Any], name: str) -> list[str]:
    """A number as the ids of a repository: one, or none."""
    value = member(document, name, int)
    return [] if value is None else [str(value)]


def push(
    ref: str, revision: str | None, *, deleted: bool | None = False, message: str = ""
) -> Push:
    """``revision`` None: not known; zeros: there is none any more. ``message``: the commit's."""
    if not ref or len(ref) > _LONGEST_REF or not (revision is None or _is_revision(revision)):
        raise MalformedError("a push without a ref, or without the revision it is at now")
    gone = bool(deleted) or (revision is not None and not revision.strip("0"))
    first = message.partition("\n")[0]
    return Push(
        ref,
        None if gone else revision,
        deleted=gone,
        subject=printable(first) or None,
        skips=asks_to_skip(first),
    )


def check(
    event: Event, revision: str, context: str, state: State, branches: list[str], *, mark: str
) -> None:
    """Make the event one about a check of that commit, which is on these branches.

    Of two words on one check the one with the greater ``mark`` is the newer.
    """
    if not revision:
        return
    if not _is_revision(revision):
        raise MalformedError("a check without the revision that it is of")
    event.kind = "check"
    refs = [f"refs/heads/{name}" for name in branches if name]
    event.check = Check(revision, context, state, refs, mark)


def message_of(revision: str, commits: Iterable[dict[str, Any]], key: str = "id") -> str:
    """The message of that commit; the lists are cut off, so it need not be there."""
    found = (commit for commit in commits if revision and commit.get(key) == revision)
    return text(next(found, {}), "message")


def actor(event: Event, *names: str) -> None:
    """Who pushed: the first of these that is not empty."""
    event.actor = next((shown for name in names if (shown := printable(name))), "")


def _is_revision(value: str) -> bool:
    """A whole object id: 40 digits with SHA-1, 64 with SHA-256."""
    return len(value) in (40, 64) and _HEX.issuperset(value)
