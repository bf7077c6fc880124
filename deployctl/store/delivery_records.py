"""Reading the inbox: one delivery or the newest ones, and hiding secrets in them later."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deployctl.store.database import Database
from deployctl.values.times import iso


@dataclass(frozen=True)
class DeliveryRecord:
    """One stored delivery; ``received_at`` is in seconds since the epoch.

    ``facts`` is the event that was read from it; None if it could not be read or was too long to
    store. ``body`` is the beginning of the body; ``body_size`` is the size of the whole one, in
    bytes.
    """

    id: int
    forge: str | None
    event: str | None
    forge_id: str | None
    repo: str | None
    received_at: float
    result: str
    reason: str
    deployment: int | None
    replay_of: int | None
    facts: dict[str, Any] | None
    headers: dict[str, str]
    body: bytes
    body_size: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields that a list of deliveries shows."""
        return {
            "id": self.id,
            "forge": self.forge,
            "event": self.event,
            "repo": self.repo,
            "received_at": iso(self.received_at),
            "result": self.result,
            "reason": self.reason,
            "deployment": self.deployment,
        }

    def whole_to_json(self) -> dict[str, Any]:
        """Return all fields but the facts."""
        return {
            **self.to_json(),
            "forge_id": self.forge_id,
            "replay_of": self.replay_of,
            "headers": self.headers,
            "body": self.text,
            "body_size": self.body_size,
        }

    @property
    def text(self) -> str:
        """The stored part of the body; bytes that are not UTF-8 are written as ``\\xe9``."""
        return self.body.decode("utf-8", "backslashreplace")


def newest(db: Database, repo: str | None, limit: int) -> list[DeliveryRecord]:
    """Return deliveries of one repo, or of all if None, newest first.

    Facts, headers and bodies are left empty.
    """
    rows = db.connection.execute(
        "SELECT id, forge, event, forge_id, repo, received_at, result, reason, deployment,"
        " replay_of, NULL AS facts, NULL AS headers, NULL AS body, body_size FROM deliveries"
        " WHERE ? IS NULL OR repo = ? ORDER BY id DESC LIMIT ?",
        (repo, repo, limit),
    )
    return [_record(row) for row in rows]


def get(db: Database, number: int) -> DeliveryRecord | None:
    """Return the delivery with this id, with facts, headers and body; None if there is none."""
    row = db.connection.execute("SELECT * FROM deliveries WHERE id = ?", (number,)).fetchone()
    return _record(row) if row else None


def mask_texts(db: Database, number: int, mask: Callable[[str], str]) -> None:
    """Replace the texts of a stored delivery with what ``mask`` returns for them.

    It is called with each text, and returns it with the secrets hidden.
    """
    row = db.connection.execute(
        "SELECT headers, facts, reason, event, body FROM deliveries WHERE id = ?", (number,)
    ).fetchone()
    if row is None:
        return
    before = {name: row[name] for name in ("headers", "facts", "reason", "event")}
    after = {name: text and mask(text) for name, text in before.items()}
    body = (row["body"] or b"").decode("utf-8", "surrogateescape")
    if (masked := mask(body)) == body and before == after:
        return
    with db.writing() as connection:
        connection.execute(
            "UPDATE deliveries SET headers = ?, facts = ?, reason = ?, event = ?, body = ?"
            " WHERE id = ?",
            (*after.values(), masked.encode("utf-8", "surrogateescape"), number),
        )


def _record(row: sqlite3.Row) -> DeliveryRecord:
    return DeliveryRecord(
        id=row["id"],
        forge=row["forge"],
        event=row["event"],
        forge_id=row["forge_id"],
        repo=row["repo"],
        received_at=row["received_at"],
        result=row["result"],
        reason=row["reason"],
        deployment=row["deployment"],
        replay_of=row["replay_of"],
        facts=json.loads(row["facts"]) if row["facts"] else None,
        headers=json.loads(row["headers"]) if row["headers"] else {},
        body=row["body"] or b"",
        body_size=row["body_size"] or 0,
    )
