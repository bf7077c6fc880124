"""The command ``deployctl resume``."""

from __future__ import annotations

import click

from deployctl.cli.session import Session, options
from deployctl.store.locks_and_holds import holds_of, lift_holds
from deployctl.store.releases import trust_again


@click.command("resume")
@click.argument("repo")
@options(writes=True)
def command(session: Session, repo: str) -> int:
    """Lift the holds on revisions that were rolled back.

    Each of them may then be deployed again, and a rollback may go back to it.
    """
    name = session.repo_name(repo)
    revisions = [hold.revision for hold in holds_of(session.db, name)]
    lift_holds(session.db, name)
    with session.db.writing() as connection:
        for revision in revisions:
            trust_again(connection, name, revision)
    message = f"{name} was not held"
    if revisions:
        shas = ", ".join(revision[:12] for revision in revisions)
        message = (
            f"{name} is not held any more: {shas} may go live with the next push "
            f"or sync; at once: deployctl deploy {name}"
        )
    session.answer({"repo": name, "held": False}, message)
    return 0
