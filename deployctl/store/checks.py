"""What forges say of the checks of a commit, for the repos that wait for it."""

from __future__ import annotations

from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3


class Verdict:
    """The names of a check that ``failed`` and of one that is ``pending``; and whether all
    ``passed`` that are known, of which there must be one.
    """

    __slots__ = ("failed", "passed", "pending")

    def __init__(self, states: dict[str, str]) -> None:
        self.failed = _first(states, "failure")
        self.pending = _first(states, "pending")
        self.passed = bool(states) and not self.failed and not self.pending


def _first(states: dict[str, str], wanted: str) -> str | None:
    return next((context for context, state in states.items() if state == wanted), None)


def note(
    connection: sqlite3.Connection,
    repo: str,
    revision: str,
    context: str,
    state: str,
    mark: str,
    now: float,
) -> None:
    """The newest word on one check, inside the caller's transaction: they come in any order."""
    connection.execute(
        "INSERT INTO checks (repo, revision, context, state, mark, noted_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (repo, revision, context) DO UPDATE"
        " SET state = excluded.state, mark = excluded.mark, noted_at = excluded.noted_at"
        " WHERE excluded.mark >= mark",
        (repo, revision, context, state, mark, now),
    )


def verdict(db: Database, repo: str, revision: str) -> Verdict:
    rows = db.connection.execute(
        "SELECT context, state FROM checks WHERE repo = ? AND revision = ? ORDER BY context",
        (repo, revision),
    )
    return Verdict({row["context"]: row["state"] for row in rows})


def waiting_for(db: Database, repo: str, revision: str) -> int | None:
    """The queued deployment that waits for the checks of a revision."""
    row = db.connection.execute(
        "SELECT number FROM deployments WHERE status = 'queued' AND repo = ? AND awaits = ?"
        " ORDER BY number DESC LIMIT 1",
        (repo, revision),
    ).fetchone()
    return int(row["number"]) if row else None


def let_run(connection: sqlite3.Connection, number: int, reason: str) -> None:
    """It waits no longer, but for its turn."""
    connection.execute(
        "UPDATE deployments SET awaits = NULL, reason = ? WHERE number = ?", (reason, number)
    )


def drop(connection: sqlite3.Connection, number: int, reason: str, now: float) -> None:
    connection.execute(
        "UPDATE deployments SET status = 'cancelled', finished_at = ?, reason = ?"
        " WHERE number = ? AND status = 'queued'",
        (now, reason, number),
    )


def dropped_ref(db: Database, repo: str, revision: str) -> str | None:
    """The ref of a deployment of this revision that a check dropped, if nothing came after it."""
    row = db.connection.execute(
        "SELECT ref, wanted_revision, status, cancelled_by FROM deployments"
        " WHERE repo = ? AND status != 'superseded' ORDER BY number DESC LIMIT 1",
        (repo,),
    ).fetchone()
    if row is None or row["status"] != "cancelled" or row["cancelled_by"] is not None:
        return None
    return str(row["ref"]) if row["wanted_revision"] == revision and row["ref"] else None


def may_begin(db: Database, repo: str, revision: str) -> bool:
    """Whether a revision may be queued though no deployment waits for it.

    Not while anything else is queued or runs, and not after something else was deployed later.
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
