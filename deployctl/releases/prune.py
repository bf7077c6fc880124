"""What is no longer needed of a repo: old releases, and those that failed."""

from __future__ import annotations

import contextlib

from deployctl.errors import DeployctlError, in_words
from deployctl.releases.choose import default_target, live_release, proven_releases
from deployctl.releases.site import Site
from deployctl.store import releases
from deployctl.store.releases import ReleaseRecord
from deployctl.values.text import Lines


def prune(site: Site, lines: Lines) -> None:
    """Keep the newest good releases, the live one and the one before it; remove the rest.

    A release that cannot be removed is told of and tried again next time: it changes no outcome.
    """
    for work in (_remove_surplus, _remove_strays, _tidy):
        try:
            work(site, lines)
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
    """What a crash left half made and could not be removed when another took its place."""
    known = releases.of_repo(site.db, site.repo.name)
    for name in site.layout.strays([release.name for release in known]):
        try:
            site.layout.discard(0, name)
        except (DeployctlError, OSError) as error:
            lines.line(f"warning: {in_words(error)}")


def _tidy(site: Site, _lines: Lines) -> None:
    site.mirror.tidy()
    site.layout.tidy()


def make_room(site: Site) -> None:
    """What may go goes from the disk alone, as a full one has no room to write down that it went;
    :func:`prune` does that later.
    """
    with contextlib.suppress(DeployctlError, OSError):
        for release in surplus(site):
            with contextlib.suppress(DeployctlError, OSError):
                site.layout.discard(release.number, release.name)
    with contextlib.suppress(DeployctlError, OSError):
        site.mirror.tidy()


def surplus(site: Site) -> list[ReleaseRecord]:
    """The releases that may go: failed ones, and good ones beyond ``keep_releases``.

    One that a person rolled back from stays as long as a good one that is older does.
    """
    known = releases.of_repo(site.db, site.repo.name)
    good = [release for release in proven_releases(known) if release.state == "good"]
    kept = good[: site.repo.keep_releases]
    oldest = kept[-1].number if kept else 0
    left = [release for release in proven_releases(known) if release.state == "left"]
    kept += [release for release in left if release.number > oldest][: site.repo.keep_releases]
    numbers = {release.number for release in kept}
    if all(release.number in numbers for release in known):  # as mostly: ask the disk nothing
        return []
    kept += filter(None, (live_release(site, known), default_target(site, known)))
    numbers |= {release.number for release in kept}
    return [release for release in known if release.number not in numbers]
