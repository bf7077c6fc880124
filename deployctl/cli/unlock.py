"""``deployctl unlock``."""

from __future__ import annotations

import click

from deployctl.cli.session import Session, options
from deployctl.store import deployments
from deployctl.store.freezes import lift_lock
from deployctl.system.wake import start_worker


@click.command("unlock")
@click.argument("repo")
@options(writes=True)
def command(session: Session, repo: str) -> int:
    """Lift the freeze; the newest deployment that waits is run."""
    name = session.known(repo)
    lifted = lift_lock(session.db, name)
    said = f"{name} is unlocked" if lifted else f"{name} was not locked"
    waiting = deployments.queued(session.db, name)
    if waiting:
        start_worker(session.config.path, session.config.state_dir, session.config.env_names)
        said += f"; #{waiting[0].number} starts now: deployctl logs -f {waiting[0].number}"
    session.answer({"repo": name, "locked": False}, said)
    return 0
