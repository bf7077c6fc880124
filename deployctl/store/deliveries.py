"""The inbox: every delivery with the decision taken, and which deployment it became."""

from __future__ import annotations

import sqlite3

from deployctl.store.database import Database


def record(
    connection: sqlite3.Connection,
    *,
    forge: str | None,
    event: str | None,
    forge_id: str | None,
    repo: str | None,
    result: str,
    reason: str,
    received_at: float,
    deployment: int | None = None,
) -> int:
    """Keep one delivery, inside the caller's transaction -> its id in our inbox."""
    cursor = connection.execute(
        "INSERT INTO deliveries (forge, event, forge_id, repo, received_at, result, reason,"
        " deployment) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (forge, event, forge_id, repo, received_at, result, reason, deployment),
    )
    return int(cursor.lastrowid or 0)


def forget_unverified(connection: sqlite3.Connection, kept: int) -> None:
    """Keep only so many of those that anybody can send, the newest."""
    connection.execute(
        "DELETE FROM deliveries WHERE result IN ('refused', 'error') AND id <= (SELECT id"
        " FROM deliveries WHERE result IN ('refused', 'error') ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (kept,),
    )


def name_deployment(connection: sqlite3.Connection, delivery: int, deployment: int) -> None:
    """Say which deployment a delivery became, once that is known."""
    connection.execute("UPDATE deliveries SET deployment = ? WHERE id = ?", (deployment, delivery))


def remember_key(connection: sqlite3.Connection, repo: str, key: str, deployment: int) -> None:
    """From now on a delivery of this repo with this key is the same one again."""
    connection.execute(
        "INSERT OR REPLACE INTO delivery_keys (repo, key, deployment) VALUES (?, ?, ?)",
        (repo, key, deployment),
    )


def deployment_for_key(db: Database, repo: str, key: str) -> tuple[int, str] | None:
    """What the same delivery became when it first came -> (deployment's number, status)."""
    row = db.connection.execute(
        "SELECT d.number, d.status FROM delivery_keys k JOIN deployments d"
        " ON d.number = k.deployment WHERE k.repo = ? AND k.key = ?",
        (repo, key),
    ).fetchone()
    return (int(row["number"]), str(row["status"])) if row else None


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
