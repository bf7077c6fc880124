"""``deployctl resume``."""

from __future__ import annotations

import click

from deployctl.cli.session import Session, options
from deployctl.store.freezes import lift_holds


@click.command("resume")
@click.argument("repo")
@options(writes=True)
def command(session: Session, repo: str) -> int:
    """Lift the hold on what was rolled back.

    That revision may be deployed again.
    """
    name = session.known(repo)
    lifted = lift_holds(session.db, name)
    said = f"{name} is not held any more" if lifted else f"{name} was not held"
    session.answer({"repo": name, "held": False}, said)
    return 0
