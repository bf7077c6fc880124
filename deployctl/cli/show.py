"""The command ``deployctl show``."""

from __future__ import annotations

import time

import click

from deployctl.cli import text
from deployctl.cli.session import Session, options, parse_deployment_number
from deployctl.output.status import get_deployment


@click.command("show")
@click.argument("number")
@options(writes=False)
def command(session: Session, number: str) -> int:
    """Show one deployment: its stages, durations and failure."""
    deployment = get_deployment(session.db, parse_deployment_number(number))
    session.answer(deployment.to_json(), text.deployment_text(deployment, time.time()))
    return 0
