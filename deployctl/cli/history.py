"""The command ``deployctl history``."""

from __future__ import annotations

import click

from deployctl.cli import text
from deployctl.cli.session import Session, limit_option, options
from deployctl.store import deployments


@click.command("history")
@click.argument("repo", required=False)
@limit_option
@click.option("--stages", is_flag=True, help="Also show how long each stage took.")
@options(writes=False)
def command(session: Session, repo: str | None, limit: int, stages: bool) -> int:
    """List past deployments, the newest first."""
    name = session.repo_name(repo) if repo else None
    found = deployments.history(session.db, name, limit)
    columns = text.terminal_columns()
    lines = text.history_lines(found, columns, with_repo=name is None, with_stages=stages)
    document = {"deployments": [deployment.to_json() for deployment in found]}
    session.answer(document, "\n".join(lines) or "no deployments yet")
    return 0
