"""``deployctl cancel``."""

from __future__ import annotations

import time

import click

from deployctl.cli.session import Session, current_origin, need_number, options
from deployctl.deploy.cancel import cancel


@click.command("cancel")
@click.argument("number")
@options(writes=True)
def command(session: Session, number: str) -> int:
    """Drop a queued deployment, or stop a running one.

    The running step's processes end, what was live before is live again.
    """
    actor = current_origin(time.time()).actor
    ended = cancel(session.db, need_number(number), actor, session.config)
    said = f"{ended.repo} #{ended.number}: {ended.status}"
    reason = f" ({ended.reason})" if ended.reason else ""
    session.answer(ended.to_json(), said + reason)
    return 0 if ended.status == "cancelled" else ended.exit_code or 1
