"""Why a deployment that nobody asked for by hand has nothing to do, once its commit is fetched."""

from __future__ import annotations

import os
from dataclasses import dataclass

from deployctl.deploy.attempt import Attempt
from deployctl.git.patterns import any_watched
from deployctl.releases.site import Site
from deployctl.store import deployments
from deployctl.values.deployment import IGNORED, UNCHANGED, Deployment
from deployctl.values.masking import escape_controls
from deployctl.values.skip_marker import SKIP, asks_to_skip

AUTOMATIC = ("webhook", "cron", "auto")
_NAMED = 3  # changed files that a reason names


@dataclass(frozen=True)
class Skip:
    """The reason, and the phase in which such a deployment succeeds."""

    reason: str
    phase: str


def is_automatic(deployment: Deployment) -> bool:
    return deployment.trigger in AUTOMATIC and not deployment.by_hand


def reason_to_skip(attempt: Attempt, revision: str, subject: str) -> Skip | None:
    """None where the revision is to be deployed."""
    if not is_automatic(attempt.deployment):
        return None
    site, live = attempt.site, attempt.previous
    at = live.revision if live else None
    if live is not None and at == revision:
        known = deployments.made_live(site.db, site.repo.name, revision, live.release)
        return Skip(f"{revision[:12]} was live already", UNCHANGED) if known else None
    if asks_to_skip(subject):
        return Skip(f"the commit says {SKIP}: {subject}", IGNORED)
    if at is None or not site.mirror.has(at):
        return None
    if attempt.deployment.wanted_revision and site.mirror.is_ancestor(revision, at):
        return Skip(f"{at[:12]}, which is newer, is live", UNCHANGED)
    return _why_not_watched(site, at, revision)


def _why_not_watched(site: Site, live: str, revision: str) -> Skip | None:
    """The true difference counts: after a force push, or after pushes that were never heard of.

    Where ``watch`` says nothing, only what is in ``dir`` is deployed and so only that matters.
    """
    watch, below = site.repo.watch, site.repo.below
    if not watch and not below:
        return None
    changed = site.mirror.changed_paths(live, revision)
    if watch:
        matters = any_watched(watch, changed)
    else:
        matters = any(path.startswith(f"{below}/") for path in changed)
    if matters:
        return None
    named = ", ".join(map(_shown, changed[:_NAMED])) or "nothing"
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    key = "watch" if watch else "dir"
    reason = f"since {live[:12]}, which is live, only {named}{more} changed; {key} leaves that out"
    return Skip(reason, IGNORED)


def _shown(path: str) -> str:
    """A name as a sentence can hold it: git's may be of any bytes, and have line breaks in them."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return escape_controls(text).replace("\n", "\\n")
