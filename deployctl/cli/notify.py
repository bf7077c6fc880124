"""The command ``deployctl notify``."""

from __future__ import annotations

import difflib

import click

from deployctl.cli.session import Session, options
from deployctl.errors import DeployctlError, UsageError
from deployctl.notices.outbox import test_notice


@click.command("notify")
@click.argument("channel")
@click.option("-m", "--message", default="This channel works.", help="The text to send.")
@options(writes=False)
def command(session: Session, channel: str, message: str) -> int:
    """Send a test notice to a channel of repos.yml."""
    found = session.config.channels.get(channel)
    if found is None:
        close = difflib.get_close_matches(channel, session.config.channels, 1)
        guess = f", did you mean {close[0]}?" if close else ""
        known = ", ".join(session.config.channels) or "none"
        raise UsageError(
            f"no channel {channel} in {session.config.path}{guess} (there are: {known})"
        )
    error = test_notice(found, message)
    if error is not None:
        raise DeployctlError(f"the notice did not reach {channel}: {error}")
    session.answer({"channel": channel, "sent": True}, f"sent to {channel}")
    return 0
