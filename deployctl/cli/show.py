"""``deployctl show``."""

from __future__ import annotations

import time

import click

from deployctl.cli import text
from deployctl.cli.session import Session, need_number, options
from deployctl.output.status import get_deployment


@click.command("show")
@click.argument("number")
@options(writes=False)
def command(session: Session, number: str) -> int:
    """One deployment whole: stages, durations, why it failed."""
    deployment = get_deployment(session.db, need_number(number))
    session.answer(deployment.to_json(), text.whole(deployment, time.time()))
    return 0
