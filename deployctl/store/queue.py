"""The queue of deployments: in which order they run, and which take the place of others.

The queue is the rows of the table ``deployments`` with the status ``queued``. One that waits for
its checks is not in line yet. The others of a repo run one after the other: rollbacks first, then
in the order in which they became able to run.

An automatic request is for the newest state of what the repo follows. When it is able to run, it
supersedes the older requests for the newest state, be they automatic or a person's plain
``deploy``. What was asked for by name, and a rollback, is never superseded.

A queued rollback has ``rollback_to``, the release that it was asked for: a deployment's number, a
full sha or the beginning of one, or None. Without one it undoes the deployment ``rollback_of``. The
release is chosen when the rollback runs.
"""

from __future__ import annotations

from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any

AUTOMATIC_TRIGGERS = ("webhook", "cron", "auto")


class Order:
    """The task of a deployment: bring a ref or a revision live, or go back to a release.

    ``task`` is ``deploy`` or ``rollback``. ``ref`` is a full ref name; ``revision`` is a full sha
    or the beginning of one. If both are None, the newest commit that the repo follows is deployed.
    ``awaits`` is the revision whose checks must pass before it may run, None if it waits for none.
    ``by_hand`` tells that a person asked for it by a replay or a control message, so that it does
    not count as automatic although its trigger may be ``webhook``. ``by_name`` tells that the
    person named the ref or the revision. ``forced`` tells that it may deploy a held revision.
    ``undoes`` is the number of the deployment that a rollback undoes, None if ``rollback_to`` says
    where to go. ``subject`` is the first line of the commit's message, if it is known.
    """

    __slots__ = (
        *("awaits", "by_hand", "by_name", "forced", "ref", "revision", "rollback_to", "subject"),
        *("task", "undoes"),
    )

    def __init__(
        self,
        *,
        ref: str | None = None,
        revision: str | None = None,
        subject: str | None = None,
        awaits: str | None = None,
        by_hand: bool = False,
        by_name: bool = False,
        forced: bool = False,
    ) -> None:
        self.task = "deploy"
        self.rollback_to: str | None = None
        self.undoes: int | None = None
        self.ref = ref
        self.revision = revision
        self.subject = subject
        self.awaits = awaits
        self.by_hand = by_hand
        self.by_name = by_name
        self.forced = forced

    @property
    def for_newest_state(self) -> bool:
        """Tell whether it deploys the newest state of what the repo follows at its turn."""
        return self.task == "deploy" and not self.by_name and not self.forced

    @classmethod
    def rollback(
        cls, to: str | None = None, *, undoes: int | None = None, by_hand: bool = False
    ) -> Order:
        """Return the order to go back to ``to``; None: to the release before the one that is live.

        ``undoes`` is the deployment that made that live, or may make it live before the rollback
        has its turn: the rollback is refused if it is not live then.
        """
        order = cls(by_hand=by_hand)
        order.task = "rollback"
        order.rollback_to = to
        order.undoes = undoes if to is None else None
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

    An automatic one supersedes older requests for the newest state. ``order`` None deploys the
    newest commit that the repo follows. ``delivery`` is the id of the delivery that asked for it,
    None if none did. ``now`` is in seconds since the epoch.

    For a rollback that undoes what another one undoes already, that one's number is returned.
    """
    order = order or Order()
    if order.undoes is not None and (same := _same_rollback(connection, repo, order.undoes)):
        return same
    request = {
        "repo": repo,
        "trigger": trigger,
        "actor": actor,
        "status": "queued",
        "delivery": delivery,
        "automatic": int(order.for_newest_state and is_automatic(trigger, by_hand=order.by_hand)),
        "queued_at": now,
    }
    number = _insert(connection, {**request, **_columns(order)})
    _supersede_older(connection, number, now)
    return number


def _columns(order: Order) -> dict[str, Any]:
    return {
        "task": order.task,
        "ref": order.ref,
        "wanted_revision": order.revision,
        "rollback_to": order.rollback_to,
        "rollback_of": order.undoes,
        "subject": order.subject,
        "forced": int(order.forced),
        "by_hand": int(order.by_hand),
        "for_newest_state": int(order.for_newest_state),
        "awaits": order.awaits,
        "reason": f"it waits for the checks of {order.awaits}" if order.awaits else None,
    }


def is_automatic(trigger: str, *, by_hand: bool) -> bool:
    """Tell whether no person asked for it; a delivery that a person replays is not automatic."""
    return trigger in AUTOMATIC_TRIGGERS and not by_hand


def _insert(connection: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    placeholders = ", ".join("?" * len(values))
    cursor = connection.execute(
        f"INSERT INTO deployments ({', '.join(values)}) VALUES ({placeholders})",  # noqa: S608 - ours
        (*values.values(),),
    )
    return int(cursor.lastrowid or 0)


def _same_rollback(connection: sqlite3.Connection, repo: str, undoes: int) -> int | None:
    """Return the waiting or running rollback that undoes the same; None if there is none.

    A rollback that runs already counts as well if it was asked for in the same way: who asks for
    one meanwhile sees what is live before it has ended.
    """
    row = connection.execute(
        "SELECT number FROM deployments WHERE repo = ? AND (status = 'queued' OR status ="
        " 'running') AND task = 'rollback' AND rollback_to IS NULL"
        " AND (rollback_of = ? OR number = ?) ORDER BY number LIMIT 1",
        (repo, undoes, undoes),
    ).fetchone()
    return int(row["number"]) if row else None


def undone_by_a_rollback(db: Database, repo: str) -> int | None:
    """Return the number of the deployment that a rollback without a target undoes now.

    It is the running one or, where none runs, the newest that made a release live; None if the
    record has none.
    """
    row = db.connection.execute(
        "SELECT number FROM deployments WHERE repo = ? AND status = 'running'", (repo,)
    ).fetchone()
    row = (
        row
        or db.connection.execute(
            "SELECT number FROM deployments WHERE repo = ? AND status = 'succeeded'"
            " AND phase NOT IN ('unchanged', 'ignored') ORDER BY number DESC LIMIT 1",
            (repo,),
        ).fetchone()
    )
    return int(row["number"]) if row else None


def make_able_to_run(connection: sqlite3.Connection, number: int, reason: str, now: float) -> None:
    """Put a deployment whose checks passed into the line, in the caller's transaction.

    It stands behind those that have been able to run before.
    """
    connection.execute(
        "UPDATE deployments SET awaits = NULL, reason = ?,"
        " able_after = (SELECT max(number) FROM deployments) WHERE number = ?",
        (reason, number),
    )
    _supersede_older(connection, number, now)


def _supersede_older(connection: sqlite3.Connection, number: int, now: float) -> None:
    """Mark the older requests whose place an automatic deployment takes as superseded.

    While it waits for its checks it takes the place only of those that wait for theirs.
    """
    row = connection.execute(
        "SELECT repo, awaits, automatic FROM deployments WHERE number = ?", (number,)
    ).fetchone()
    if row["automatic"]:
        connection.execute(
            "UPDATE deployments SET status = 'superseded', superseded_by = ?, finished_at = ?,"
            " reason = ? WHERE repo = ? AND status = 'queued' AND number < ?"
            " AND for_newest_state AND (? IS NULL OR awaits IS NOT NULL)",
            (number, now, _superseded_reason(number), row["repo"], number, row["awaits"]),
        )


def _superseded_reason(number: int) -> str:
    return f"a newer request, #{number}, took its place"


def requeue(
    connection: sqlite3.Connection, repo: str, number: int, reason: str, now: float
) -> None:
    """Queue an interrupted deployment again, in the caller's transaction.

    It keeps its number and its place in the line. If it is a request for the newest state and a
    newer automatic one is in the line, that one supersedes it. ``now`` is in seconds since the
    epoch.
    """
    connection.execute(
        "UPDATE deployments SET status = 'queued', phase = '', runner = NULL, reason = ?,"
        " started_at = NULL WHERE number = ?",
        (reason, number),
    )
    newer = connection.execute(
        "SELECT max(number) AS number FROM deployments WHERE repo = ? AND status = 'queued'"
        " AND number > ? AND awaits IS NULL AND automatic",
        (repo, number),
    ).fetchone()["number"]
    if newer is not None:
        connection.execute(
            "UPDATE deployments SET status = 'superseded', superseded_by = ?, finished_at = ?,"
            " reason = ? WHERE number = ? AND for_newest_state",
            (newer, now, _superseded_reason(newer), number),
        )


def waiting(db: Database) -> list[tuple[int, str]]:
    """Return the (number, repo) of each queued deployment that is in line, in the order of turns.

    Those that wait for checks are left out; those of a locked repo are not.
    """
    rows = db.connection.execute(
        "SELECT number, repo, task, able_after FROM deployments"
        " WHERE status = 'queued' AND awaits IS NULL"
    )
    return [(int(row["number"]), str(row["repo"])) for row in sorted(rows, key=_turn)]


def next_of(db: Database, repo: str) -> int | None:
    """Return the number of the repo's deployment that runs next; None if none is in line."""
    return next((number for number, name in waiting(db) if name == repo), None)


def _turn(row: sqlite3.Row) -> tuple[bool, int, bool, int]:
    """Return a key that sorts deployments by their turns.

    ``able_after`` is the newest deployment at the time when it became able to run; None: itself.
    """
    came_late = row["able_after"] is not None
    able = row["able_after"] if came_late else row["number"]
    return (row["task"] != "rollback", able, came_late, row["number"])


def running(db: Database) -> list[tuple[int, str]]:
    """Return the (number, repo) of each deployment that the record calls running, oldest first.

    The process of one may be dead: then it must be recovered.
    """
    rows = db.connection.execute(
        "SELECT number, repo FROM deployments WHERE status = 'running' ORDER BY number"
    )
    return [(int(row["number"]), str(row["repo"])) for row in rows]
