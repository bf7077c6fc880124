"""The command ``deployctl cancel``."""

from __future__ import annotations

import time

import click

from deployctl.cli.session import Session, current_origin, options, parse_deployment_number
from deployctl.deploy.cancel import cancel


@click.command("cancel")
@click.argument("number")
@options(writes=True)
def command(session: Session, number: str) -> int:
    """Drop a queued deployment, or stop a running one.

    To stop it, deployctl ends all processes of the running step and makes the
    previous release live again.
    """
    actor = current_origin(time.time()).actor
    ended = cancel(session.db, parse_deployment_number(number), actor, session.config)
    message = f"{ended.repo} #{ended.number}: {ended.status}"
    reason = f" ({ended.reason})" if ended.reason else ""
    session.answer(ended.to_json(), message + reason)
    return 0 if ended.status == "cancelled" else ended.exit_code or 1
