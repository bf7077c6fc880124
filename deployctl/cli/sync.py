"""``deployctl sync``."""

from __future__ import annotations

import time

import click

from deployctl.cli.session import Session, current_origin, options
from deployctl.cli.streams import complain
from deployctl.deploy.sync import queue_changes
from deployctl.deploy.worker import run


@click.command("sync")
@click.argument("repos", metavar="[REPO...]", nargs=-1)
@click.option("-q", "--quiet", is_flag=True, help="Show no output; the logs have it.")
@options(writes=True)
def command(session: Session, repos: tuple[str, ...], quiet: bool) -> int:
    """Deploy what differs from the remotes: for cron.

    Asks each remote for the tip of its branch (or its newest tag), so it makes up for every
    webhook that never came. What is held, or failed before, is left alone until the branch moves.
    Exits with 1 where not one of the remotes could be reached.
    """
    runtime = session.runtime(quiet=quiet)
    actor = current_origin(time.time()).actor
    sites = [session.site(name) for name in repos or session.config.repos]
    asked = [queue_changes(site, actor, time.time()) for site in sites]
    for each in asked:
        if each.complaint is not None:
            complain(each.complaint)
    done = run(runtime)
    session.answer({"deployments": [each.to_json() for each in done]}, "")
    return int(bool(asked) and not any(each.reached for each in asked))
