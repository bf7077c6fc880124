"""The inbox: every delivery with the decision taken, and which deployment it became."""

from __future__ import annotations

from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any

_COLUMNS = (
    *("forge", "event", "forge_id", "repo", "result", "reason", "received_at", "facts"),
    *("replay_of",),
)


class StoredRequest:
    """What is stored of a request: ``headers`` as JSON, the ``body`` in part, its whole ``size``.

    The size is in bytes. Secrets have been hidden in it already.
    """

    __slots__ = ("body", "headers", "size")

    def __init__(self, headers: str, body: bytes, size: int) -> None:
        self.headers = headers
        self.body = body
        self.size = size


class Entry:
    """One delivery and what was decided; ``facts`` is what was read of it, as JSON.

    ``received_at`` is in seconds; ``replay_of`` is the delivery that a person had run again.
    """

    __slots__ = _COLUMNS

    def __init__(self, result: str, reason: str, received_at: float) -> None:
        self.result = result
        self.reason = reason
        self.received_at = received_at
        self.forge: str | None = None
        self.event: str | None = None
        self.forge_id: str | None = None
        self.repo: str | None = None
        self.facts: str | None = None
        self.replay_of: int | None = None


class KnownDelivery:
    """What the same delivery became before; ``is_newest``: nothing of its repo came after it."""

    __slots__ = ("is_newest", "number", "status")

    def __init__(self, number: int, status: str, *, is_newest: bool) -> None:
        self.number = number
        self.status = status
        self.is_newest = is_newest


def record(connection: sqlite3.Connection, entry: Entry, request: StoredRequest) -> int:
    """Keep one delivery, inside the caller's transaction -> its id in our inbox."""
    values: list[Any] = [getattr(entry, name) for name in _COLUMNS]
    cursor = connection.execute(
        f"INSERT INTO deliveries ({', '.join(_COLUMNS)}, headers, body, body_size)"  # noqa: S608 - ours
        f" VALUES ({'?, ' * len(_COLUMNS)}?, ?, ?)",
        (*values, request.headers, request.body, request.size),
    )
    return int(cursor.lastrowid or 0)


def forget_unverified(connection: sqlite3.Connection, kept: int) -> None:
    """Keep only so many of those that anybody can send, the newest."""
    connection.execute(
        "DELETE FROM deliveries WHERE result IN ('refused', 'error', 'malformed') AND id <="
        " (SELECT id FROM deliveries WHERE result IN ('refused', 'error', 'malformed')"
        " ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (kept,),
    )


def name_deployment(connection: sqlite3.Connection, delivery: int, deployment: int) -> None:
    """Say which deployment a delivery became, once that is known."""
    connection.execute("UPDATE deliveries SET deployment = ? WHERE id = ?", (deployment, delivery))


def ignore(connection: sqlite3.Connection, delivery: int, reason: str) -> None:
    """What was queued turned out to be nothing to deploy, inside the caller's transaction."""
    connection.execute(
        "UPDATE deliveries SET result = 'ignored', reason = ? WHERE id = ?", (reason, delivery)
    )


def remember_key(connection: sqlite3.Connection, repo: str, key: str, deployment: int) -> None:
    """From now on a delivery of this repo with this key is the same one again."""
    connection.execute(
        "INSERT OR REPLACE INTO delivery_keys (repo, key, deployment) VALUES (?, ?, ?)",
        (repo, key, deployment),
    )


def deployment_for_key(db: Database, repo: str, key: str) -> KnownDelivery | None:
    """What the same delivery became when it first came."""
    row = db.connection.execute(
        "SELECT d.number, d.status, NOT EXISTS (SELECT 1 FROM deployments n WHERE n.repo = d.repo"
        " AND n.number > d.number) AS is_newest FROM delivery_keys k JOIN deployments d"
        " ON d.number = k.deployment WHERE k.repo = ? AND k.key = ?",
        (repo, key),
    ).fetchone()
    if row is None:
        return None
    return KnownDelivery(int(row["number"]), str(row["status"]), is_newest=bool(row["is_newest"]))


def use_proof(
    connection: sqlite3.Connection, repo: str, proof: str, expires_at: float, now: float
) -> bool:
    """Remember a proof that is good only once, until it expires -> whether this is that once."""
    connection.execute("DELETE FROM used_proofs WHERE expires_at < ?", (now,))
    cursor = connection.execute(
        "INSERT OR IGNORE INTO used_proofs (repo, proof, expires_at) VALUES (?, ?, ?)",
        (repo, proof, expires_at),
    )
    return cursor.rowcount == 1


def prune(db: Database, before: float) -> None:
    """Forget the deliveries that came before then, and what forges said of checks.

    Asks first: every minute's worker comes here, and a transaction costs more than a question.
    """
    oldest = db.connection.execute(
        "SELECT (SELECT min(received_at) FROM deliveries) AS delivery,"
        " (SELECT min(noted_at) FROM checks) AS checked"
    ).fetchone()
    if min(oldest["delivery"] or before, oldest["checked"] or before) >= before:
        return
    with db.writing() as connection:
        connection.execute("DELETE FROM deliveries WHERE received_at < ?", (before,))
        connection.execute("DELETE FROM checks WHERE noted_at < ?", (before,))
