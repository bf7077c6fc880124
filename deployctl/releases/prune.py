"""Remove what a repo no longer needs: old releases, failed ones, and what crashes left."""

from __future__ import annotations

import contextlib

from deployctl.errors import DeployctlError, in_words
from deployctl.releases.choose import default_rollback_target, live_release, proven_releases
from deployctl.releases.site import Site
from deployctl.store import releases
from deployctl.store.releases import ReleaseRecord
from deployctl.values.text import Lines


def prune(site: Site, lines: Lines) -> None:
    """Remove the :func:`surplus` releases and other remains, from the disk and from the record.

    What cannot be removed is a warning in ``lines`` and is tried again the next time; it does not
    change how a deployment ends.
    """
    for task in (_remove_surplus, _remove_strays, _tidy):
        try:
            task(site, lines)
        except (DeployctlError, OSError) as error:
            lines.line(f"warning: {in_words(error)}")


def _remove_surplus(site: Site, lines: Lines) -> None:
    for release in surplus(site):
        try:
            site.layout.discard(release.number, release.name)
            releases.forget(site.db, site.repo.name, release.number)
        except (DeployctlError, OSError) as error:
            lines.line(f"warning: {in_words(error)}")


def _remove_strays(site: Site, lines: Lines) -> None:
    """Remove incomplete releases that the record does not know.

    A crash left them, and they could not be removed when the deployment was tried again.
    """
    known = releases.of_repo(site.db, site.repo.name)
    for name in site.layout.strays([release.name for release in known]):
        try:
            site.layout.discard(0, name)
        except (DeployctlError, OSError) as error:
            lines.line(f"warning: {in_words(error)}")


def _tidy(site: Site, _lines: Lines) -> None:
    site.mirror.tidy()
    site.layout.tidy()


def remove_surplus_from_disk(site: Site) -> None:
    """Remove the surplus releases from a full disk, and leave the record as it is.

    A full disk has no room for writing to the record; :func:`prune` does that later. Errors are
    ignored.
    """
    with contextlib.suppress(DeployctlError, OSError):
        for release in surplus(site):
            with contextlib.suppress(DeployctlError, OSError):
                site.layout.discard(release.number, release.name)
    with contextlib.suppress(DeployctlError, OSError):
        site.mirror.tidy()


def surplus(site: Site) -> list[ReleaseRecord]:
    """Return the releases that may be removed: failed ones, and those beyond ``keep_releases``.

    The live release and the one that a rollback would go back to are not among them. A release
    that a rollback left is kept as long as an older good one is.
    """
    known = releases.of_repo(site.db, site.repo.name)
    good = [release for release in proven_releases(known) if release.state == "good"]
    kept = good[: site.repo.keep_releases]
    oldest = kept[-1].number if kept else 0
    left = [release for release in proven_releases(known) if release.state == "left"]
    kept += [release for release in left if release.number > oldest][: site.repo.keep_releases]
    numbers = {release.number for release in kept}
    if all(release.number in numbers for release in known):  # the usual case
        return []
    kept += filter(None, (live_release(site, known), default_rollback_target(site, known)))
    numbers |= {release.number for release in kept}
    return [release for release in known if release.number not in numbers]
