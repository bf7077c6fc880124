"""The queue of deployments: the newest request of a repo supersedes the older queued ones.

The queue is the rows of the table ``deployments`` with the status ``queued``. A queued rollback
has ``rollback_to``, the release that it was asked for: a deployment's number, a full sha or the
beginning of one, or None for the last good release. The release is chosen when the rollback runs.
"""

from __future__ import annotations

from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any


class Order:
    """The task of a deployment: bring a ref or a revision live, or go back to a release.

    ``task`` is ``deploy`` or ``rollback``. ``ref`` is a full ref name; ``revision`` is a full sha
    or the beginning of one. If both are None, the newest commit that the repo follows is deployed.
    ``awaits`` is the revision whose checks must pass before it may run, None if it waits for none.
    ``by_hand`` tells that a person asked for it by a replay or a control message, so that it does
    not count as automatic although its trigger may be ``webhook``. ``forced`` tells that it may
    deploy a held revision. ``subject`` is the first line of the commit's message, if it is known.
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
    """Queue a deployment, in the caller's transaction; return its number.

    Older queued deployments of the repo become superseded. ``order`` None deploys the newest commit
    that the repo follows. ``delivery`` is the id of the delivery that asked for it, None if none
    did. ``now`` is in seconds since the epoch.
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
    placeholders = ", ".join("?" * len(values))
    cursor = connection.execute(
        f"INSERT INTO deployments ({', '.join(values)}) VALUES ({placeholders})",  # noqa: S608 - ours
        (*values.values(),),
    )
    number = int(cursor.lastrowid or 0)
    _supersede_older(connection, values["repo"], number, values["queued_at"])
    return number


def _supersede_older(connection: sqlite3.Connection, repo: str, number: int, now: float) -> None:
    """Mark the older queued deployments of the repo as superseded by deployment ``number``.

    If that is an automatic rollback, a deployment that waits for its checks stays queued: the
    rollback leaves an older release, and must not cancel a newer one.
    """
    connection.execute(
        "UPDATE deployments SET status = 'superseded', superseded_by = ?, finished_at = ?,"
        " reason = ? WHERE repo = ? AND status = 'queued' AND number < ? AND (awaits IS NULL"
        " OR (SELECT trigger FROM deployments WHERE number = ?) != 'auto')",
        (number, now, f"a newer request, #{number}, took its place", repo, number, number),
    )


def requeue(connection: sqlite3.Connection, repo: str, number: int, reason: str, now: float) -> int:
    """Queue an interrupted deployment again, in the caller's transaction.

    If the repo has a newer queued deployment, the interrupted one is superseded by it. Return the
    number of the repo's newest queued deployment: the interrupted one, or the newer one. ``now`` is
    in seconds since the epoch.
    """
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
    """Return the (number, repo) of each queued deployment that may run, oldest first.

    Those that wait for checks are left out; those of a locked repo are not.
    """
    rows = db.connection.execute(
        "SELECT number, repo FROM deployments WHERE status = 'queued' AND awaits IS NULL"
        " ORDER BY number"
    )
    return [(int(row["number"]), str(row["repo"])) for row in rows]


def running(db: Database) -> list[tuple[int, str]]:
    """Return the (number, repo) of each deployment that the record calls running, oldest first.

    The process of one may be dead: then it must be recovered.
    """
    rows = db.connection.execute(
        "SELECT number, repo FROM deployments WHERE status = 'running' ORDER BY number"
    )
    return [(int(row["number"]), str(row["repo"])) for row in rows]
