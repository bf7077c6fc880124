"""``deployctl resume``."""

from __future__ import annotations

import click

from deployctl.cli.session import Session, options
from deployctl.store.freezes import hold_of, lift_holds


@click.command("resume")
@click.argument("repo")
@options(writes=True)
def command(session: Session, repo: str) -> int:
    """Lift the hold on what was rolled back.

    That revision may be deployed again.
    """
    name = session.known(repo)
    hold = hold_of(session.db, name)
    lift_holds(session.db, name)
    said = f"{name} was not held"
    if hold is not None:
        said = (
            f"{name} is not held any more: {hold.revision[:12]} may go live with the next push or "
            f"sync; at once: deployctl deploy {name}"
        )
    session.answer({"repo": name, "held": False}, said)
    return 0
