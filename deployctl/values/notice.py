"""Notices as values: a message about a deployment, and the state of sending it to each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deployctl.values.times import iso

WAITING = "waiting"
SENT = "sent"
FAILED = "failed"


@dataclass(frozen=True)
class Sending:
    """The sending of one notice to one channel; ``state`` is waiting, sent or failed (given up).

    Times are in seconds since the epoch. ``attempts`` is the number of attempts that were begun.
    ``last_error`` is kept when a later attempt succeeds: it says why the notice was late.
    ``due_at`` is the time of the next attempt, None unless the state is waiting.
    """

    channel: str
    state: str = WAITING
    attempts: int = 0
    last_error: str | None = None
    sent_at: float | None = None
    due_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.channel,
            "state": self.state,
            "attempts": self.attempts,
            "last_error": self.last_error,
            "sent_at": iso(self.sent_at),
        }


@dataclass(frozen=True)
class Wording:
    """The text of a notice; ``event`` is one of the events that a repo's ``notify`` may name."""

    event: str
    title: str
    body: str


@dataclass(frozen=True)
class Notice:
    """A notice as the record keeps it, with its sendings.

    ``deployment`` and ``repo`` are None for a notice that is about none; ``created_at`` is in
    seconds since the epoch.
    """

    id: int
    deployment: int | None
    repo: str | None
    event: str
    title: str
    body: str
    created_at: float
    sendings: tuple[Sending, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "deployment": self.deployment,
            "repo": self.repo,
            "event": self.event,
            "title": self.title,
            "body": self.body,
            "created_at": iso(self.created_at),
            "channels": [sending.to_json() for sending in self.sendings],
        }
