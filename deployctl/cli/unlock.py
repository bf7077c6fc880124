"""The command ``deployctl unlock``."""

from __future__ import annotations

import click

from deployctl.cli.session import Session, options
from deployctl.store import deployments
from deployctl.store.locks_and_holds import lift_lock
from deployctl.system.wake import start_worker


@click.command("unlock")
@click.argument("repo")
@options(writes=True)
def command(session: Session, repo: str) -> int:
    """Unlock a repo, and run its newest queued deployment."""
    name = session.repo_name(repo)
    lifted = lift_lock(session.db, name)
    message = f"{name} is unlocked" if lifted else f"{name} was not locked"
    waiting = deployments.queued(session.db, name)
    if waiting:
        start_worker(session.config.path, session.config.state_dir, session.config.env_names)
        message += f"; #{waiting[0].number} starts now: deployctl logs -f {waiting[0].number}"
    session.answer({"repo": name, "locked": False}, message)
    return 0
