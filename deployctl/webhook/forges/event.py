"""What every forge's deliveries are turned into."""

from __future__ import annotations

from deployctl.webhook.payload import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    Kind = Literal["push", "ping", "check", "control", "other"]
    State = Literal["success", "failure", "pending"]


class Delivery:
    """A request of a forge: lower-case headers, the raw ``body``, and the JSON in it.

    ``payload`` is the JSON as text in UTF-8: the body itself, or what its form field holds;
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
    """One ref that was moved, by its full name.

    ``revision`` is the commit it is at now, None where the forge does not say or the ref is
    ``deleted``; ``subject`` is the first line of that commit's message, and ``skips`` whether it
    asks not to be deployed.
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
    """What the forge says of one check of a commit.

    ``context`` tells it from other checks of the same commit; ``refs`` are branches by their full
    name that the commit is on, as far as the forge says. ``mark`` grows with every word on it.
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
    """A person's order by a signed message: ``action`` is deploy or rollback.

    ``to`` is a revision, or for a rollback also a deployment's number; None: the usual one.
    """

    __slots__ = ("action", "repo", "to")

    def __init__(self, action: str, repo: str, to: str | None) -> None:
        self.action = action
        self.repo = repo
        self.to = to


class Event:
    """What a delivery says; ``pushes``, ``check`` and ``control`` belong to the kinds named so.

    ``name`` is the forge's word for the event and ``forge_id`` its id of the delivery, both as
    they may be shown; ``key`` is that id to the letter. The repository is known by any of
    ``repository_ids``, unique only within one instance of a forge, and by ``full_name``. ``once``
    is for a proof that could be used again: a key that may come only once, and until when it has
    to be remembered, in seconds.
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
        "once",
        "pushes",
        "repository_ids",
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
        self.once: tuple[str, float] | None = None
