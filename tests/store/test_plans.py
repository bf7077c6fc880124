"""The queries of ``run`` and ``sync`` use indexes: cron runs both often, and the history grows."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from deployctl.config.load import load
from deployctl.deploy import worker
from deployctl.deploy.admission import Runtime
from deployctl.deploy.sync import queue_changes
from deployctl.output.screen import Output
from deployctl.releases.site import open_site
from deployctl.store.database import Database
from tests.support.app import App
from tests.support.bark import Bark

# These indexes have only the rows that wait, however many others there are.
OF_WAITING = ("deployments_open", "sendings_due")
GROWING = (
    *("checks", "deliveries", "delivery_keys", "deployments", "notices", "sendings", "stages"),
    *("steps", "used_proofs"),
)


def run(runtime: Runtime) -> None:
    worker.run(runtime)


def sync(runtime: Runtime) -> None:
    queue_changes(open_site(runtime.config, runtime.db, "app"), "cron", time.time())
    worker.run(runtime)


@pytest.mark.parametrize("call", [run, sync])
def test_no_query_scans_a_table_that_grows(
    app: App, phone: Bark, call: Callable[[Runtime], None]
) -> None:
    app.configure(top={"channels": {"phone": phone.url()}}, notify=["phone"], probation="1h")
    app.release("1")
    app.release("2")
    with Database(str(app.state)) as db:
        statements: list[str] = []
        db.connection.set_trace_callback(statements.append)
        call(Runtime(load(str(app.cli.config)), db, Output()))
        db.connection.set_trace_callback(None)
        scans = {
            (statement, step)
            for statement in statements
            if statement.startswith(("SELECT", "UPDATE", "DELETE"))
            and not reads_first_row_only(statement)
            for step in plan(db, statement)
            if scans_all(step)
        }
    assert len(statements) > 20
    assert scans == set()


def reads_first_row_only(statement: str) -> bool:
    return "WHERE" not in statement and statement.endswith("ORDER BY id LIMIT 1")


def plan(db: Database, statement: str) -> list[str]:
    """Return the steps in which SQLite carries out a statement."""
    values = [None] * statement.count("?")
    rows = db.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
    return [str(row["detail"]) for row in rows]


def scans_all(step: str) -> bool:
    words = step.split()
    if words[0] != "SCAN" or not {*words} & {*GROWING}:
        return False
    return not {*words} & {*OF_WAITING}
