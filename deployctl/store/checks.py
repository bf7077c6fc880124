"""Results of the forge's checks of a commit (CI), for repos with ``on: ci_success``."""

from __future__ import annotations

from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3


class Verdict:
    """The result of all known checks of one revision.

    ``failed`` and ``pending`` each hold the name of one such check, or None. ``passed`` is true
    if at least one check is known, none failed and none is pending.
    """

    __slots__ = ("failed", "passed", "pending")

    def __init__(self, states: dict[str, str]) -> None:
        self.failed = _first_check(states, "failure")
        self.pending = _first_check(states, "pending")
        self.passed = bool(states) and not self.failed and not self.pending


def _first_check(states: dict[str, str], wanted: str) -> str | None:
    return next((context for context, state in states.items() if state == wanted), None)


def record_report(
    connection: sqlite3.Connection,
    repo: str,
    revision: str,
    context: str,
    state: str,
    mark: str,
    now: float,
) -> None:
    """Store the state of one check, unless a newer one is stored; in the caller's transaction.

    ``revision`` is a full commit sha, ``context`` the check's name, ``state`` one of ``pending``,
    ``success`` and ``failure``; ``now`` is in seconds since the epoch. Deliveries may arrive in any
    order, so ``mark`` tells which report is newer: text from the forge (a time or a padded number)
    that is compared with the stored one as text. A smaller mark changes nothing, an equal one
    replaces what is stored.
    """
    connection.execute(
        "INSERT INTO checks (repo, revision, context, state, mark, noted_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (repo, revision, context) DO UPDATE"
        " SET state = excluded.state, mark = excluded.mark, noted_at = excluded.noted_at"
        " WHERE excluded.mark >= mark",
        (repo, revision, context, state, mark, now),
    )


def verdict(db: Database, repo: str, revision: str) -> Verdict:
    """Return the result of all checks that are stored for a revision."""
    rows = db.connection.execute(
        "SELECT context, state FROM checks WHERE repo = ? AND revision = ? ORDER BY context",
        (repo, revision),
    )
    return Verdict({row["context"]: row["state"] for row in rows})


def waiting_for(db: Database, repo: str, revision: str) -> int | None:
    """Return the number of the queued deployment that waits for a revision's checks, or None."""
    row = db.connection.execute(
        "SELECT number FROM deployments WHERE status = 'queued' AND repo = ? AND awaits = ?"
        " ORDER BY number DESC LIMIT 1",
        (repo, revision),
    ).fetchone()
    return int(row["number"]) if row else None


def cancel_waiting(connection: sqlite3.Connection, number: int, reason: str, now: float) -> None:
    """Cancel a queued deployment because a check failed, in the caller's transaction."""
    connection.execute(
        "UPDATE deployments SET status = 'cancelled', finished_at = ?, reason = ?"
        " WHERE number = ? AND status = 'queued'",
        (now, reason, number),
    )


def dropped_ref(db: Database, repo: str, revision: str) -> str | None:
    """Return the ref of a deployment of this revision that a failed check cancelled, or None.

    None also if that is not the repo's newest deployment, apart from superseded ones.
    """
    row = db.connection.execute(
        "SELECT ref, wanted_revision, status, cancelled_by FROM deployments"
        " WHERE repo = ? AND status != 'superseded' ORDER BY number DESC LIMIT 1",
        (repo,),
    ).fetchone()
    if row is None or row["status"] != "cancelled" or row["cancelled_by"] is not None:
        return None
    return str(row["ref"]) if row["wanted_revision"] == revision and row["ref"] else None


def may_queue_unannounced(db: Database, repo: str, revision: str) -> bool:
    """Tell whether a revision may be queued although no deployment waits for its checks.

    False while a deployment of the repo is queued or running, and for a revision that has a
    deployment already, however it ended: checks may end in another order than the pushes came in.
    """
    row = db.connection.execute(
        "SELECT status FROM deployments WHERE repo = ? AND status != 'superseded'"
        " ORDER BY number DESC LIMIT 1",
        (repo,),
    ).fetchone()
    if row is None:
        return True
    if row["status"] in ("queued", "running"):
        return False
    known = db.connection.execute(
        "SELECT 1 FROM deployments WHERE repo = ? AND (wanted_revision = ? OR revision = ?)",
        (repo, revision, revision),
    ).fetchone()
    return known is None
