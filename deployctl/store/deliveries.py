"""Writing the inbox: every delivery, with the decision taken and the deployment that it queued."""

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
    """The part of an HTTP request that is stored, with secrets hidden.

    ``headers`` is a JSON object, ``body`` the beginning of the body, and ``size`` the size of the
    whole body in bytes.
    """

    __slots__ = ("body", "headers", "size")

    def __init__(self, headers: str, body: bytes, size: int) -> None:
        self.headers = headers
        self.body = body
        self.size = size


class Entry:
    """One delivery and the decision about it, to be stored.

    ``result`` is the decision in one word, such as ``queued`` or ``ignored``. ``received_at`` is in
    seconds since the epoch. ``forge_id`` is the forge's own id of the delivery. ``facts`` is the
    event as JSON, from which it can be decided again. ``replay_of`` is the id of the delivery that
    a person has replayed with this one.
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
    """The deployment that the same delivery queued before: its ``number`` and ``status``.

    ``is_newest`` tells that no later deployment of the repo has been queued.
    """

    __slots__ = ("is_newest", "number", "status")

    def __init__(self, number: int, status: str, *, is_newest: bool) -> None:
        self.number = number
        self.status = status
        self.is_newest = is_newest


def record(connection: sqlite3.Connection, entry: Entry, request: StoredRequest) -> int:
    """Store one delivery, in the caller's transaction; return its id in the inbox."""
    values: list[Any] = [getattr(entry, name) for name in _COLUMNS]
    cursor = connection.execute(
        f"INSERT INTO deliveries ({', '.join(_COLUMNS)}, headers, body, body_size)"  # noqa: S608 - ours
        f" VALUES ({'?, ' * len(_COLUMNS)}?, ?, ?)",
        (*values, request.headers, request.body, request.size),
    )
    return int(cursor.lastrowid or 0)


def forget_unverified(connection: sqlite3.Connection, kept: int) -> None:
    """Remove all but the newest ``kept`` unverified deliveries, in the caller's transaction.

    Anybody can send those, so their number must be limited.
    """
    connection.execute(
        "DELETE FROM deliveries WHERE result IN ('refused', 'error', 'malformed') AND id <="
        " (SELECT id FROM deliveries WHERE result IN ('refused', 'error', 'malformed')"
        " ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (kept,),
    )


def name_deployment(connection: sqlite3.Connection, delivery: int, deployment: int) -> None:
    """Store the deployment that a delivery queued, or is about, in the caller's transaction."""
    connection.execute("UPDATE deliveries SET deployment = ? WHERE id = ?", (deployment, delivery))


def ignore(connection: sqlite3.Connection, delivery: int, reason: str) -> None:
    """Change a delivery's result from queued to ignored, in the caller's transaction.

    For a deployment that turned out to have nothing to deploy.
    """
    connection.execute(
        "UPDATE deliveries SET result = 'ignored', reason = ? WHERE id = ?", (reason, delivery)
    )


def remember_key(connection: sqlite3.Connection, repo: str, key: str, deployment: int) -> None:
    """Store a delivery's key with its deployment, in the caller's transaction.

    A later delivery of the repo with this key is recognised as the same one. The key is usually
    the forge's id of the delivery; a hash of the body if the forge sends none.
    """
    connection.execute(
        "INSERT OR REPLACE INTO delivery_keys (repo, key, deployment) VALUES (?, ?, ?)",
        (repo, key, deployment),
    )


def deployment_for_key(db: Database, repo: str, key: str) -> KnownDelivery | None:
    """Return the deployment that a delivery with this key has queued, or None."""
    row = db.connection.execute(
        "SELECT d.number, d.status, NOT EXISTS (SELECT 1 FROM deployments n WHERE n.repo = d.repo"
        " AND n.number > d.number) AS is_newest FROM delivery_keys k JOIN deployments d"
        " ON d.number = k.deployment WHERE k.repo = ? AND k.key = ?",
        (repo, key),
    ).fetchone()
    if row is None:
        return None
    return KnownDelivery(int(row["number"]), str(row["status"]), is_newest=bool(row["is_newest"]))


def use_proof_once(
    connection: sqlite3.Connection, repo: str, proof: str, expires_at: float, now: float
) -> bool:
    """Store a one-time proof, in the caller's transaction; return False if it was used before.

    The proof is kept until ``expires_at``, after which it is not valid anyway. Both times are in
    seconds since the epoch.
    """
    connection.execute("DELETE FROM used_proofs WHERE expires_at < ?", (now,))
    cursor = connection.execute(
        "INSERT OR IGNORE INTO used_proofs (repo, proof, expires_at) VALUES (?, ?, ?)",
        (repo, proof, expires_at),
    )
    return cursor.rowcount == 1


def prune(db: Database, before: float) -> None:
    """Remove the deliveries received before that time, and the checks stored before it.

    ``before`` is in seconds since the epoch. The oldest ones are queried first, since a worker may
    run every minute and a query costs less than a write transaction.
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
