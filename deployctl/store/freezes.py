"""What must not be deployed now: a person's lock of a repo, and a revision that is held."""

from __future__ import annotations

from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3


class Lock:
    """A person's freeze of a repo: triggers are kept and wait."""

    __slots__ = ("actor", "since", "why")

    def __init__(self, actor: str, since: float, why: str) -> None:
        self.actor = actor
        self.since = since
        self.why = why


class Hold:
    """A revision that nothing automatic deploys again until the branch moves."""

    __slots__ = ("revision", "since", "why")

    def __init__(self, revision: str, since: float, why: str) -> None:
        self.revision = revision
        self.since = since
        self.why = why


def lock_of(db: Database, repo: str) -> Lock | None:
    row = db.connection.execute(
        "SELECT actor, since, why FROM locks WHERE repo = ?", (repo,)
    ).fetchone()
    return Lock(row["actor"], row["since"], row["why"]) if row else None


def set_lock(db: Database, repo: str, lock: Lock) -> bool:
    """Whether it is ours now: False where somebody else's is in place."""
    with db.writing() as connection:
        cursor = connection.execute(
            "INSERT INTO locks (repo, actor, since, why) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (repo) DO NOTHING",
            (repo, lock.actor, lock.since, lock.why),
        )
        return cursor.rowcount == 1


def lift_lock(db: Database, repo: str) -> bool:
    """Whether there was one."""
    with db.writing() as connection:
        return connection.execute("DELETE FROM locks WHERE repo = ?", (repo,)).rowcount > 0


def hold_of(db: Database, repo: str) -> Hold | None:
    """The newest hold of a repo; there may be older ones, of revisions rolled back before."""
    return next(iter(holds_of(db, repo)), None)


def holds_of(db: Database, repo: str) -> list[Hold]:
    """All of them, the newest first."""
    rows = db.connection.execute(
        "SELECT revision, since, why FROM holds WHERE repo = ? ORDER BY since DESC", (repo,)
    )
    return [Hold(row["revision"], row["since"], row["why"]) for row in rows]


def hold_on(db: Database, repo: str, revision: str) -> Hold | None:
    """The hold of one revision, by its whole sha."""
    row = db.connection.execute(
        "SELECT revision, since, why FROM holds WHERE repo = ? AND revision = ?",
        (repo, revision),
    ).fetchone()
    return Hold(row["revision"], row["since"], row["why"]) if row else None


def set_hold(connection: sqlite3.Connection, repo: str, hold: Hold) -> None:
    """Hold a revision, inside the caller's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO holds (repo, revision, since, why) VALUES (?, ?, ?, ?)",
        (repo, hold.revision, hold.since, hold.why),
    )


def lift_hold(connection: sqlite3.Connection, repo: str, revision: str) -> None:
    """One revision may be deployed again, inside the caller's transaction."""
    connection.execute("DELETE FROM holds WHERE repo = ? AND revision = ?", (repo, revision))


def lift_holds(db: Database, repo: str) -> bool:
    """All of a repo's revisions may be deployed again -> whether one was held."""
    with db.writing() as connection:
        return connection.execute("DELETE FROM holds WHERE repo = ?", (repo,)).rowcount > 0


def describe_lock(repo: str, lock: Lock) -> str:
    """Return the sentence that refuses a deployment of a locked repo, with the way out."""
    return f"{repo} is locked by {lock.actor}: {lock.why}; lift it with: deployctl unlock {repo}"


def describe_hold(repo: str, hold: Hold) -> str:
    """Return the sentence that refuses a held revision, with the ways out."""
    return (
        f"{hold.revision[:12]} is held: {hold.why}; push a fix, or lift the hold "
        f"(deployctl resume {repo}), or insist (deployctl deploy {repo} --force)"
    )
