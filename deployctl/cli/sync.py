"""The command ``deployctl sync``."""

from __future__ import annotations

import time

import click

from deployctl.cli.session import Session, current_origin, options
from deployctl.cli.streams import print_message
from deployctl.deploy.sync import queue_changes
from deployctl.deploy.worker import run


@click.command("sync")
@click.argument("repos", metavar="[REPO...]", nargs=-1)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the logs have the output.")
@options(writes=True)
def command(session: Session, repos: tuple[str, ...], quiet: bool) -> int:
    """Deploy each repo whose remote tip is not live. For cron.

    Asks each remote for the tip of the configured branch (or the newest tag) and deploys it if it
    is not live. So a push whose webhook never arrived is deployed, too. A revision that is held or
    has failed before is not deployed until the branch moves. Exits with 1 if no remote could be
    reached.
    """
    runtime = session.runtime(quiet=quiet)
    actor = current_origin(time.time()).actor
    sites = [session.site(name) for name in repos or session.config.repos]
    answers = [queue_changes(site, actor, time.time()) for site in sites]
    for answer in answers:
        if answer.complaint is not None:
            print_message(answer.complaint)
    deployments = run(runtime)
    document = {"deployments": [deployment.to_json() for deployment in deployments]}
    session.answer(document, "")
    return int(bool(answers) and not any(answer.reached for answer in answers))
