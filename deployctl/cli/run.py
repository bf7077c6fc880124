"""``deployctl run``."""

from __future__ import annotations

import click

from deployctl.cli.session import Session, options
from deployctl.deploy.worker import run
from deployctl.system.wake import release_wake_lock


@click.command("run")
@click.option("-q", "--quiet", is_flag=True, help="Show no output; the logs have it.")
@options(writes=True)
def command(session: Session, quiet: bool) -> int:
    """Work the queue off: what the webhook and cron start.

    Repairs what a crash left, runs what is queued until nothing is, checks what is on probation,
    sends due notices. Safe to start at any time, any number of times. Prints nothing when there
    was nothing to do.
    """
    release_wake_lock()
    done = run(session.runtime(quiet=quiet))
    session.answer({"deployments": [each.to_json() for each in done]}, "")
    return 0
