"""The command ``deployctl rollback``."""

from __future__ import annotations

import time

import click

from deployctl.cli import text
from deployctl.cli.session import Session, current_origin, options, verbose_option
from deployctl.deploy import plan
from deployctl.deploy.foreground import refuse_if_locked, run_when_admitted
from deployctl.deploy.request import refuse_if_unusable, request_rollback
from deployctl.errors import RefusedError
from deployctl.releases.choose import (
    default_rollback_target,
    rollback_candidates,
    rollback_target,
)
from deployctl.releases.site import Site, masker_of
from deployctl.store import releases
from deployctl.store.releases import ReleaseRecord
from deployctl.values.deployment import REFUSED
from deployctl.values.times import iso


@click.command("rollback")
@click.argument("repo")
@click.option("--to", metavar="NUMBER-or-SHA", help="The release to go back to.")
@click.option("--list", "listing", is_flag=True, help="List the releases to go back to.")
@click.option("--check", is_flag=True, help="Check that the target is usable; switch nothing.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and change nothing.")
@verbose_option
@options(writes=True)
def command(
    session: Session,
    repo: str,
    to: str | None,
    listing: bool,
    check: bool,
    dry_run: bool,
    verbose: bool,
) -> int:
    """Go back to the last good release, or to the one that --to names.

    Nothing is built, unless --to names a release that is no longer on disk. Restart and health
    check run as in a deployment. The revision that was live is then held until the branch moves.
    """
    site = session.site(repo)
    if listing:
        return _list_candidates(session, site)
    if check or dry_run:
        return _show_plan(session, site, rollback_target(site, to), check=check)
    refuse_if_locked(site)
    number = request_rollback(site, to, current_origin(time.time()))
    ended = run_when_admitted(session.runtime(verbose=verbose), site, number)
    if ended.phase == REFUSED:
        raise RefusedError(ended.reason or ended.status)
    session.answer(ended.to_json(), text.failure_summary(ended))
    return ended.exit_code


def _list_candidates(session: Session, site: Site) -> int:
    found = rollback_candidates(site)
    default = default_rollback_target(site, releases.of_repo(site.db, site.repo.name))
    lines = text.release_lines(found, default, time.time(), text.terminal_columns())
    document = {"releases": [_release_json(release, release == default) for release in found]}
    session.answer(document, "\n".join(lines) or f"{site.repo.name} has nothing to go back to")
    return 0


def _show_plan(session: Session, site: Site, target: ReleaseRecord, *, check: bool) -> int:
    if check:
        refuse_if_unusable(site, target)
    steps = "\n".join(map(text.one_line, plan.rollback_plan(site, target)))
    default = default_rollback_target(site, releases.of_repo(site.db, site.repo.name))
    document = _release_json(target, target == default)
    if target.subject is not None:  # it may be older than the secret that it contains
        document["subject"] = masker_of(site.repo).mask_text(target.subject)
    session.answer(document, f"usable: {steps}" if check else steps)
    return 0


def _release_json(release: ReleaseRecord, default: bool) -> dict[str, object]:
    return {
        "deployment": release.number or None,
        "release": release.name,
        "revision": release.revision,
        "subject": release.subject,
        "actor": release.actor or None,
        "built_at": iso(release.built_at),
        "size": release.size,
        "default": default,
    }
