"""The queue of a test repo: add to it without a worker, and run it."""

from __future__ import annotations

import time

from deployctl.store import queue
from deployctl.store.database import Database
from tests.support.app import App


def enqueue(app: App, repo: str = "app") -> int:
    """Queue a deployment as a webhook does, without starting a worker."""
    with Database(str(app.state)) as db, db.writing() as connection:
        return queue.enqueue(
            connection, repo=repo, trigger="webhook", actor="octocat", now=time.time()
        )


def deployed_by(app: App, *words: str, code: int = 0) -> list[tuple[int, str]]:
    """Call ``run`` or ``sync`` and return number and status of each deployment that ran."""
    document = app.cli.json(*words, code=code)
    return [(entry["number"], entry["status"]) for entry in document["deployments"]]
