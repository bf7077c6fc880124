"""What waits to be deployed: the newest request of a repo takes the place of every other one.

A rollback waits with what it was asked to go back to, ``rollback_to``: a deployment's number or
(the beginning of) a sha, or None for the last good release. It is looked for when its turn comes.
"""

from __future__ import annotations

from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any


class Order:
    """What a deployment is to do: bring a ref or a revision live, or go back to a release.

    ``awaits`` is the revision whose checks it waits for before it may run; ``by_hand``: a person
    asked for it; ``forced``: a hold does not stop it. ``subject`` is the first line of the
    commit's message, as far as it is known. A plain order is the newest state of the repo.
    """

    __slots__ = (
        *("awaits", "by_hand", "forced", "ref", "revision", "rollback_to", "subject", "task"),
    )

    def __init__(
        self,
        *,
        ref: str | None = None,
        revision: str | None = None,
        subject: str | None = None,
        awaits: str | None = None,
        by_hand: bool = False,
        forced: bool = False,
    ) -> None:
        self.task = "deploy"
        self.rollback_to: str | None = None
        self.ref = ref
        self.revision = revision
        self.subject = subject
        self.awaits = awaits
        self.by_hand = by_hand
        self.forced = forced

    @classmethod
    def rollback(cls, to: str | None = None, *, by_hand: bool = False) -> Order:
        """Return the order to go back to ``to``; None: to the last good release."""
        order = cls(by_hand=by_hand)
        order.task = "rollback"
        order.rollback_to = to
        return order


def enqueue(
    connection: sqlite3.Connection,
    *,
    repo: str,
    trigger: str,
    actor: str,
    now: float,
    order: Order | None = None,
    delivery: int | None = None,
) -> int:
    """Queue a deployment inside the caller's transaction -> its number.

    ``order`` None: the newest state of the repo. ``delivery`` is the id of the one that asked.
    """
    order = order or Order()
    values = {
        "repo": repo,
        "task": order.task,
        "trigger": trigger,
        "actor": actor,
        "status": "queued",
        "ref": order.ref,
        "wanted_revision": order.revision,
        "rollback_to": order.rollback_to,
        "delivery": delivery,
        "subject": order.subject,
        "forced": int(order.forced),
        "by_hand": int(order.by_hand),
        "awaits": order.awaits,
        "reason": f"it waits for the checks of {order.awaits}" if order.awaits else None,
        "queued_at": now,
    }
    return _insert(connection, values)


def _insert(connection: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    places = ", ".join("?" * len(values))
    cursor = connection.execute(
        f"INSERT INTO deployments ({', '.join(values)}) VALUES ({places})",  # noqa: S608 - ours
        (*values.values(),),
    )
    number = int(cursor.lastrowid or 0)
    _supersede_older(connection, values["repo"], number, values["queued_at"])
    return number


def _supersede_older(connection: sqlite3.Connection, repo: str, number: int, now: float) -> None:
    """What waits for its checks waits on where deployctl itself goes back from something older."""
    connection.execute(
        "UPDATE deployments SET status = 'superseded', superseded_by = ?, finished_at = ?,"
        " reason = ? WHERE repo = ? AND status = 'queued' AND number < ? AND (awaits IS NULL"
        " OR (SELECT trigger FROM deployments WHERE number = ?) != 'auto')",
        (number, now, f"a newer request, #{number}, took its place", repo, number, number),
    )


def requeue(connection: sqlite3.Connection, repo: str, number: int, reason: str, now: float) -> int:
    """Put an interrupted deployment back, behind nothing newer -> the number that will run."""
    connection.execute(
        "UPDATE deployments SET status = 'queued', phase = '', runner = NULL, reason = ?,"
        " started_at = NULL WHERE number = ?",
        (reason, number),
    )
    newest = connection.execute(
        "SELECT max(number) FROM deployments WHERE repo = ? AND status = 'queued'", (repo,)
    ).fetchone()[0]
    _supersede_older(connection, repo, int(newest), now)
    return int(newest)


def waiting(db: Database) -> list[tuple[int, str]]:
    """The queued deployments that may run, oldest first -> (number, repo)."""
    rows = db.connection.execute(
        "SELECT number, repo FROM deployments WHERE status = 'queued' AND awaits IS NULL"
        " ORDER BY number"
    )
    return [(int(row["number"]), str(row["repo"])) for row in rows]


def running(db: Database) -> list[tuple[int, str]]:
    """The deployments that the record calls running, oldest first -> (number, repo)."""
    rows = db.connection.execute(
        "SELECT number, repo FROM deployments WHERE status = 'running' ORDER BY number"
    )
    return [(int(row["number"]), str(row["repo"])) for row in rows]
