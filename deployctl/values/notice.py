"""A notice as the record keeps it: one message about a deployment, and how its sendings fare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deployctl.values.times import iso

WAITING = "waiting"
SENT = "sent"
FAILED = "failed"


@dataclass(frozen=True)
class Sending:
    """One notice's way to one channel; ``state`` is waiting, sent or failed (given up).

    Times are seconds since the epoch. ``attempts`` counts those begun; ``last_error`` stays when a
    later attempt works: it says why the notice was late. ``due_at`` is None but while waiting.
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
    """The text of a notice; ``event`` is one of those that ``notify`` of a repo may name."""

    event: str
    title: str
    body: str


@dataclass(frozen=True)
class Notice:
    """What is told, of which deployment, and to whom."""

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
