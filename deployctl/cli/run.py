"""The command ``deployctl run``: the worker."""

from __future__ import annotations

import click

from deployctl.cli.session import Session, options
from deployctl.deploy.worker import run
from deployctl.system.wake import release_wake_lock


@click.command("run")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the logs have the output.")
@options(writes=True)
def command(session: Session, quiet: bool) -> int:
    """Run the worker: run queued deployments until none is left.

    Webhooks, cron and timers start it. It first repairs what a crash left, and also checks
    releases on probation and sends due notices. Safe to start at any time, any number of times.
    Prints nothing if there was nothing to do.
    """
    release_wake_lock()
    deployments = run(session.runtime(quiet=quiet))
    document = {"deployments": [deployment.to_json() for deployment in deployments]}
    session.answer(document, "")
    return 0
