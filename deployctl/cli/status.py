"""The command ``deployctl status``."""

from __future__ import annotations

import time

import click

from deployctl.cli import text
from deployctl.cli.session import Session, options
from deployctl.errors import UsageError
from deployctl.output.status import RepoStatus, status


@click.command("status")
@click.argument("repo", required=False)
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 1 if a repo's newest finished deployment failed, or nothing usable is live.",
)
@click.option("--page", metavar="DIR", help="Also write the status page DIR/index.html.")
@options(writes=False)
def command(session: Session, repo: str | None, exit_code: bool, page: str | None) -> int:
    """Show what is live, running, queued, held or locked."""
    if page == "":
        raise UsageError("--page wants a directory: name one, for example --page public")
    statuses = [status(site) for site in session.sites(repo)]
    now, columns = time.time(), text.terminal_columns()
    if page is not None:
        _write_page(session, page, statuses, now)
    blocks = [text.status_block(repo_status, now, columns) for repo_status in statuses]
    document = {"repos": [repo_status.to_json() for repo_status in statuses]}
    session.answer(document, "\n\n".join(blocks) or f"no repos in {session.config.path}")
    return int(exit_code and not all(repo_status.is_ok for repo_status in statuses))


def _write_page(session: Session, page: str, statuses: list[RepoStatus], now: float) -> None:
    from deployctl.output.page import (  # imported only if a page was asked for: it takes time
        with_recent_deployments,
        write_page,
    )

    write_page(page, with_recent_deployments(session.db, statuses), now)
