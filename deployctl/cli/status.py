"""``deployctl status``."""

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
    help="Exit with 1 if any repo's newest finished deployment did not succeed.",
)
@click.option("--page", metavar="DIR", help="Write the static status page, DIR/index.html.")
@options(writes=False)
def command(session: Session, repo: str | None, exit_code: bool, page: str | None) -> int:
    """What is live, runs, waits, is held or locked."""
    if page == "":
        raise UsageError("--page wants a directory: name one, for example --page public")
    found = [status(site) for site in session.sites(repo)]
    now, columns = time.time(), text.width()
    if page is not None:
        _write_page(session, page, found, now)
    blocks = [text.status_block(each, now, columns) for each in found]
    document = {"repos": [each.to_json() for each in found]}
    session.answer(document, "\n\n".join(blocks) or f"no repos in {session.config.path}")
    bad = any(each.last and each.last.status != "succeeded" for each in found)
    return int(exit_code and bad)


def _write_page(session: Session, page: str, found: list[RepoStatus], now: float) -> None:
    from deployctl.output.page import (  # only who asks for the page pays for it
        with_recent,
        write_page,
    )

    write_page(page, with_recent(session.db, found), now)
