"""``deployctl notices``."""

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

_PAUSE = 1.0


@click.command("notices")
@click.option("-f", "--follow", is_flag=True, help="Show new ones as they come.")
@limit_option
@click.option("--retry", is_flag=True, help="Send again what was given up.")
@options(writes=False)
def command(session: Session, follow: bool, limit: int, retry: bool) -> int:
    """Past notices, with their state per channel."""
    if retry:
        _retry(session)
    found = store.history(session.db, limit)
    if follow:
        return _follow(session, found)
    document = {"notices": [notice.to_json() for notice in found]}
    lines = [_line(notice, text.width()) for notice in found]
    session.answer(document, "\n".join(lines) or "no notices yet")
    return 0


def _retry(session: Session) -> None:
    with Database(session.config.state_dir) as db:
        store.retry(db)
        send_due(db, session.config.channels)


def _follow(session: Session, known: list[Notice]) -> int:
    """JSON Lines, or lines for people, until it is interrupted.

    The record is opened each time: it may come into being, or be put in its place, meanwhile.
    """
    last, found = 0, known
    while True:
        for notice in sorted(found, key=lambda each: each.id):
            if notice.id > last:
                last = notice.id
                session.answer(notice.to_json(), _line(notice, text.width()))
        time.sleep(_PAUSE)
        with Database(session.config.state_dir, read_only=True) as db:
            found = store.history(db, 100)


def _line(notice: Notice, columns: int | None) -> str:
    states = ", ".join(
        f"{sending.channel}: {sending.state}"
        + (f" ({sending.last_error})" if sending.last_error and sending.state != "sent" else "")
        for sending in notice.sendings
    )
    line = f"{local(notice.created_at)[:16]}  {notice.title}  [{states}]"
    return cut(text.one_line(line), columns)
