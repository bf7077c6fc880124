"""``deployctl lock``."""

from __future__ import annotations

import time

import click

from deployctl.cli.session import Session, current_origin, options, storable
from deployctl.errors import RefusedError
from deployctl.store.freezes import Lock, describe_lock, lock_of, set_lock


@click.command("lock")
@click.argument("repo")
@click.option("-m", "--message", "why", required=True, metavar="WHY", help="Why, for the others.")
@options(writes=True)
def command(session: Session, repo: str, why: str) -> int:
    """Freeze a repo: what is triggered is kept, and waits for unlock."""
    name, request = session.known(repo), current_origin(time.time())
    ours = Lock(request.actor, request.now, storable(why))
    if not set_lock(session.db, name, ours):
        raise RefusedError(describe_lock(name, lock_of(session.db, name) or ours))
    said = f"{name} is locked; lift it with: deployctl unlock {name}"
    session.answer({"repo": name, "locked": True}, said)
    return 0
