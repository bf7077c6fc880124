"""Decide, after the fetch, whether an automatic deployment has nothing to do.

That is so if the revision is live already, if its commit message asks not to be deployed, or if it
changes no path that the repo watches. A deployment that a person asked for is never skipped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from deployctl.deploy.attempt import Attempt
from deployctl.git.patterns import any_watched
from deployctl.releases.site import Site
from deployctl.store import deployments
from deployctl.store.queue import is_automatic
from deployctl.values.deployment import IGNORED, UNCHANGED
from deployctl.values.masking import escape_controls
from deployctl.values.skip_marker import SKIP, asks_to_skip

_PATHS_NAMED = 3  # changed paths, at most, in a reason


@dataclass(frozen=True)
class Skip:
    """The reason to skip a deployment, and the phase that is recorded with its success.

    ``phase`` is UNCHANGED or IGNORED.
    """

    reason: str
    phase: str


def reason_to_skip(attempt: Attempt, revision: str, subject: str) -> Skip | None:
    """Return why the deployment has nothing to do, or None if the revision must be deployed.

    ``revision`` is a full sha that the mirror has, ``subject`` the first line of its message.
    """
    deployment = attempt.deployment
    if not is_automatic(deployment.trigger, by_hand=deployment.by_hand):
        return None
    site, live = attempt.site, attempt.previous
    live_revision = live.revision if live else None
    if live is not None and live_revision == revision:
        made_live_by = deployments.find_that_made_live(
            site.db, site.repo.name, revision, live.release
        )
        return Skip(f"{revision[:12]} was live already", UNCHANGED) if made_live_by else None
    if asks_to_skip(subject):
        return Skip(f"the commit says {SKIP}: {subject}", IGNORED)
    if live_revision is None or not site.mirror.has(live_revision):
        return None
    if attempt.deployment.wanted_revision and site.mirror.is_ancestor(revision, live_revision):
        return Skip(f"{live_revision[:12]}, which is newer, is live", UNCHANGED)
    return _skip_unwatched(site, live_revision, revision)


def _skip_unwatched(site: Site, live: str, revision: str) -> Skip | None:
    """Return a Skip if no watched path differs between two revisions, else None.

    The revisions ``live`` and ``revision`` are compared in the mirror. The lists of changed files
    in deliveries are not used: they are wrong after a force push or after a lost delivery. Without
    ``watch`` in repos.yml only the paths below ``dir`` matter, as only these are deployed.
    """
    watch, below = site.repo.watch, site.repo.subdirectory
    if not watch and not below:
        return None
    changed = site.mirror.changed_paths(live, revision)
    if watch:
        matters = any_watched(watch, changed)
    else:
        matters = any(path.startswith(f"{below}/") for path in changed)
    if matters:
        return None
    named = ", ".join(map(_printable, changed[:_PATHS_NAMED])) or "nothing"
    more = f" and {len(changed) - _PATHS_NAMED} more" if len(changed) > _PATHS_NAMED else ""
    key = "watch" if watch else "dir"
    reason = f"since {live[:12]}, which is live, only {named}{more} changed; {key} leaves that out"
    return Skip(reason, IGNORED)


def _printable(path: str) -> str:
    """Return a path with escapes for control characters, line breaks and bytes that are not UTF-8.

    A file name in git may consist of any bytes.
    """
    text = os.fsencode(path).decode(errors="backslashreplace")
    return escape_controls(text).replace("\n", "\\n")
