"""Locks of repos, which a person sets, and holds of revisions, which deployctl sets."""

from __future__ import annotations

from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3


class Lock:
    """A lock that a person has set on a repo: deployments are queued, but none runs until unlock.

    ``since`` is in seconds since the epoch.
    """

    __slots__ = ("actor", "since", "why")

    def __init__(self, actor: str, since: float, why: str) -> None:
        self.actor = actor
        self.since = since
        self.why = why


class Hold:
    """A revision that must not be deployed again automatically until the branch moves.

    ``revision`` is a full commit sha; ``since`` is in seconds since the epoch.
    """

    __slots__ = ("revision", "since", "why")

    def __init__(self, revision: str, since: float, why: str) -> None:
        self.revision = revision
        self.since = since
        self.why = why


def lock_of(db: Database, repo: str) -> Lock | None:
    """Return the lock of a repo, or None if it is not locked."""
    row = db.connection.execute(
        "SELECT actor, since, why FROM locks WHERE repo = ?", (repo,)
    ).fetchone()
    return Lock(row["actor"], row["since"], row["why"]) if row else None


def set_lock(db: Database, repo: str, lock: Lock) -> bool:
    """Lock a repo; return False, and change nothing, if it is locked already."""
    with db.writing() as connection:
        cursor = connection.execute(
            "INSERT INTO locks (repo, actor, since, why) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (repo) DO NOTHING",
            (repo, lock.actor, lock.since, lock.why),
        )
        return cursor.rowcount == 1


def lift_lock(db: Database, repo: str) -> bool:
    """Remove the lock of a repo; return False if it was not locked."""
    with db.writing() as connection:
        return connection.execute("DELETE FROM locks WHERE repo = ?", (repo,)).rowcount > 0


def hold_of(db: Database, repo: str) -> Hold | None:
    """Return the newest hold of a repo, or None; other revisions may be held as well."""
    return next(iter(holds_of(db, repo)), None)


def holds_of(db: Database, repo: str) -> list[Hold]:
    """Return all holds of a repo, newest first."""
    rows = db.connection.execute(
        "SELECT revision, since, why FROM holds WHERE repo = ? ORDER BY since DESC", (repo,)
    )
    return [Hold(row["revision"], row["since"], row["why"]) for row in rows]


def hold_on(db: Database, repo: str, revision: str) -> Hold | None:
    """Return the hold of one revision, given as a full commit sha; None if it is not held."""
    row = db.connection.execute(
        "SELECT revision, since, why FROM holds WHERE repo = ? AND revision = ?",
        (repo, revision),
    ).fetchone()
    return Hold(row["revision"], row["since"], row["why"]) if row else None


def set_hold(connection: sqlite3.Connection, repo: str, hold: Hold) -> None:
    """Hold a revision, in the caller's transaction; an earlier hold of it is replaced."""
    connection.execute(
        "INSERT OR REPLACE INTO holds (repo, revision, since, why) VALUES (?, ?, ?, ?)",
        (repo, hold.revision, hold.since, hold.why),
    )


def lift_hold(connection: sqlite3.Connection, repo: str, revision: str) -> None:
    """Remove the hold of one revision, if it is held, in the caller's transaction."""
    connection.execute("DELETE FROM holds WHERE repo = ? AND revision = ?", (repo, revision))


def lift_holds(db: Database, repo: str) -> bool:
    """Remove all holds of a repo; return False if there was none."""
    with db.writing() as connection:
        return connection.execute("DELETE FROM holds WHERE repo = ?", (repo,)).rowcount > 0


def describe_lock(repo: str, lock: Lock) -> str:
    """Return the message that refuses a deployment of a locked repo; it names the way out."""
    return f"{repo} is locked by {lock.actor}: {lock.why}; lift it with: deployctl unlock {repo}"


def describe_hold(repo: str, hold: Hold) -> str:
    """Return the message that refuses a held revision; it names the ways out."""
    return (
        f"{hold.revision[:12]} is held: {hold.why}; push a fix, or lift the hold "
        f"(deployctl resume {repo}), or insist (deployctl deploy {repo} --force)"
    )
