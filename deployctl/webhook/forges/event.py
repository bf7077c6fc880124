"""The event in a delivery, in the same form for every forge: a push, a ping, a check, an order."""

from __future__ import annotations

from deployctl.webhook.payload import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    Kind = Literal["push", "ping", "check", "control", "other"]
    State = Literal["success", "failure", "pending"]


class Delivery:
    """A request of a forge: headers with lower-case names, the raw ``body``, and the JSON in it.

    ``payload`` is the JSON text in UTF-8: the body itself, or the form field ``payload`` in it;
    ``document`` is the object in it. ``received_at`` is in seconds.
    """

    __slots__ = ("body", "document", "headers", "payload", "received_at")

    def __init__(
        self,
        headers: Mapping[str, str],
        body: bytes,
        document: dict[str, Any],
        *,
        payload: bytes | None = None,
        received_at: float = 0.0,
    ) -> None:
        self.headers = headers
        self.body = body
        self.document = document
        self.payload = body if payload is None else payload
        self.received_at = received_at


class Push:
    """A ref that was moved or deleted, by its full name (``refs/heads/main``).

    ``revision`` is the commit that it points to now, None where the forge does not say or the ref
    is ``deleted``. ``subject`` is the first line of that commit's message; ``skips`` is true if it
    asks not to be deployed, such as with ``[skip deploy]``.
    """

    __slots__ = ("deleted", "ref", "revision", "skips", "subject")

    def __init__(
        self,
        ref: str,
        revision: str | None = None,
        *,
        deleted: bool = False,
        subject: str | None = None,
        skips: bool = False,
    ) -> None:
        self.ref = ref
        self.revision = revision
        self.deleted = deleted
        self.subject = subject
        self.skips = skips


class Check:
    """A report of a forge about one check of a commit.

    ``context`` is the name of the check, unique for the commit; ``refs`` are the branches that the
    commit is on, by their full names, as far as the forge says. Of two reports about a check, the
    one with the greater ``mark`` (compared as text) is the newer one.
    """

    __slots__ = ("context", "mark", "refs", "revision", "state")

    def __init__(
        self, revision: str, context: str, state: State, refs: list[str], mark: str = ""
    ) -> None:
        self.revision = revision
        self.context = printable(context)
        self.state = state
        self.refs = refs
        self.mark = printable(mark)


class Control:
    """An order that a person sent in a signed message: ``action`` is deploy or rollback.

    ``to`` is a revision (its beginning will do), or for a rollback also a deployment's number.
    None: the newest commit that the repo follows, or for a rollback the last good release.
    """

    __slots__ = ("action", "repo", "to")

    def __init__(self, action: str, repo: str, to: str | None) -> None:
        self.action = action
        self.repo = repo
        self.to = to


class Event:
    """The content of a delivery; ``kind`` tells which of ``pushes``, ``check``, ``control`` is set.

    ``name`` is the forge's name for the event, and ``forge_id`` is the forge's id of the delivery,
    both made safe to show; ``key`` is that id unchanged, None if there is none or it is not ASCII.
    The repository has one of ``repository_ids``, unique only within one instance of a forge, and a
    ``full_name``; either may be missing. ``single_use`` is set where a stolen signature could be
    used again: a key that is accepted only once, and the time in seconds until which it has to be
    remembered.
    """

    __slots__ = (
        "actor",
        "check",
        "control",
        "forge_id",
        "full_name",
        "key",
        "kind",
        "name",
        "pushes",
        "repository_ids",
        "single_use",
    )

    def __init__(self, kind: Kind, name: str, forge_id: str | None = None) -> None:
        self.kind = kind
        self.name = printable(name)
        self.forge_id = printable(forge_id or "") or None
        self.key = forge_id if forge_id and forge_id.isascii() else None
        self.repository_ids: list[str] = []
        self.full_name: str | None = None
        self.pushes: list[Push] = []
        self.check: Check | None = None
        self.control: Control | None = None
        self.actor = ""
        self.single_use: tuple[str, float] | None = None
