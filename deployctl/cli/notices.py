"""The command ``deployctl notices``."""

from __future__ import annotations

import time

import click

from deployctl.cli import text
from deployctl.cli.session import Session, limit_option, options
from deployctl.notices.outbox import send_due
from deployctl.store import notices as store
from deployctl.store.database import Database
from deployctl.values.notice import Notice
from deployctl.values.text import cut
from deployctl.values.times import local

_PAUSE = 1.0  # seconds between two looks at the record


@click.command("notices")
@click.option("-f", "--follow", is_flag=True, help="Show new notices as they come.")
@limit_option
@click.option("--retry", is_flag=True, help="Send notices again that were given up.")
@options(writes=False)
def command(session: Session, follow: bool, limit: int, retry: bool) -> int:
    """List past notices, with their state on each channel."""
    if retry:
        _retry(session)
    notices = store.history(session.db, limit)
    if follow:
        return _follow(session, notices)
    document = {"notices": [notice.to_json() for notice in notices]}
    lines = [_line(notice, text.terminal_columns()) for notice in notices]
    session.answer(document, "\n".join(lines) or "no notices yet")
    return 0


def _retry(session: Session) -> None:
    with Database(session.config.state_dir) as db:
        store.retry(db)
        send_due(db, session.config.channels)


def _follow(session: Session, notices: list[Notice]) -> int:
    """Print these notices and then each new one, until the command is interrupted.

    With ``--json`` each line is one JSON document. The record is opened anew each time, because it
    may be created or replaced in the meantime.
    """
    last_id = 0
    while True:
        for notice in sorted(notices, key=lambda notice: notice.id):
            if notice.id > last_id:
                last_id = notice.id
                session.answer(notice.to_json(), _line(notice, text.terminal_columns()))
        time.sleep(_PAUSE)
        with Database(session.config.state_dir, read_only=True) as db:
            notices = store.history(db, 100)


def _line(notice: Notice, columns: int | None) -> str:
    states = ", ".join(
        f"{sending.channel}: {sending.state}"
        + (f" ({sending.last_error})" if sending.last_error and sending.state != "sent" else "")
        for sending in notice.sendings
    )
    line = f"{local(notice.created_at)[:16]}  {notice.title}  [{states}]"
    return cut(text.one_line(line), columns)
