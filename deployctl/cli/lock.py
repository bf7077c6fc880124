"""The command ``deployctl lock``."""

from __future__ import annotations

import time

import click

from deployctl.cli.session import Session, current_origin, options, storable_text
from deployctl.errors import RefusedError
from deployctl.store.locks_and_holds import Lock, describe_lock, lock_of, set_lock


@click.command("lock")
@click.argument("repo")
@click.option(
    "-m", "--message", "why", required=True, metavar="WHY", help="The reason, shown to others."
)
@options(writes=True)
def command(session: Session, repo: str, why: str) -> int:
    """Lock a repo: nothing is deployed until it is unlocked.

    Deployments from webhooks and cron are queued and wait. A deploy or rollback
    that a person asks for is refused.
    """
    name, origin = session.repo_name(repo), current_origin(time.time())
    lock = Lock(origin.actor, origin.now, storable_text(why))
    if not set_lock(session.db, name, lock):
        raise RefusedError(describe_lock(name, lock_of(session.db, name) or lock))
    message = f"{name} is locked; lift it with: deployctl unlock {name}"
    session.answer({"repo": name, "locked": True}, message)
    return 0
