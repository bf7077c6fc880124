"""Choose the release that a rollback goes back to."""

from __future__ import annotations

from collections.abc import Sequence

from deployctl.errors import RefusedError, UsageError
from deployctl.releases.site import Site
from deployctl.store import deployments, releases, revisions
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.values.deployment import IDLE, Deployment

_SHORTEST_SHA = 4
_LONGEST_NUMBER = 16  # digits; SQLite knows no more than 64 bits


def candidates(site: Site) -> list[ReleaseRecord]:
    """What a person may roll back to, newest first: whole, on disk, not live."""
    live = site.layout.live()
    place = (live.release or live.revision) if live else None
    return [
        release
        for release in proven_releases(releases.of_repo(site.db, site.repo.name))
        if _place(release) != place and site.layout.usable(release.name, release.revision)
    ]


def proven_releases(known: Sequence[ReleaseRecord]) -> list[ReleaseRecord]:
    """The releases that were live and healthy; in place a revision counts once, as the newest."""
    found: dict[str, ReleaseRecord] = {}
    for release in known:
        if release.state in {"good", "left"}:
            found.setdefault(_place(release), release)
    return list(found.values())


def live_release(site: Site, known: Sequence[ReleaseRecord]) -> ReleaseRecord | None:
    """The record of what is live; None where deployctl did not build it."""
    live = site.layout.live()
    return _match(known, live.revision, live.release) if live else None


def find_release(site: Site, revision: str | None, name: str | None) -> ReleaseRecord | None:
    """The newest release of that revision and, where it has one, of that directory."""
    return _match(releases.of_repo(site.db, site.repo.name), revision, name)


def default_target(site: Site, known: Sequence[ReleaseRecord]) -> ReleaseRecord | None:
    """The last good release before the live one, of another revision where there is one.

    The live revision built once more is gone back to only for want of another: what is wrong with
    it is mostly wrong with its twin.
    """
    record, live = live_release(site, known), site.layout.live()
    older = [
        release
        for release in candidates(site)
        if release.state == "good" and (record is None or release.number < record.number)
    ]
    twins = [release for release in older if live and release.revision == live.revision]
    left = _revisions_left(known)
    others = [each for each in older if each not in twins and each.revision not in left]
    return next(iter(others + twins), None)


def _revisions_left(known: Sequence[ReleaseRecord]) -> set[str]:
    """The revisions that were rolled back from and not good again since."""
    verdicts: dict[str, str] = {}
    for release in proven_releases(known):
        verdicts.setdefault(release.revision, release.state)
    return {revision for revision, state in verdicts.items() if state == "left"}


def choose_target(site: Site, to: str | None) -> ReleaseRecord:
    """The release that ``--to`` names, or the last good one; RefusedError where there is none.

    One that is named may be :data:`GONE`: then it must be built again. The last good one is on
    disk.
    """
    if to is None:
        known = releases.of_repo(site.db, site.repo.name)
        target = default_target(site, known)
        if target is None:
            raise RefusedError(
                f"{site.repo.name} has no earlier good release to roll back to; "
                f"see: deployctl rollback {site.repo.name} --list"
            )
        return target
    return _named(site, to.lstrip("#").lower())


def _named(site: Site, to: str) -> ReleaseRecord:
    """By the number of a deployment, else by the beginning of its sha."""
    found = _by_number(site, to) or _by_sha(site, to)
    if found is None:
        raise RefusedError(
            f"{site.repo.name} has no release {to} to roll back to; "
            f"see: deployctl rollback {site.repo.name} --list"
        )
    return found


def _by_number(site: Site, to: str) -> ReleaseRecord | None:
    """What the deployment of that number made live, whether it built that or rolled back to it."""
    is_number = to.isascii() and to.isdigit() and len(to) < _LONGEST_NUMBER
    named = deployments.get(site.db, int(to)) if is_number else None
    if named is None or named.repo != site.repo.name:
        return None
    if named.status != "succeeded" or named.phase in IDLE:
        return None
    return _match(candidates(site), named.revision, named.release) or _gone(site, named)


def _by_sha(site: Site, to: str) -> ReleaseRecord | None:
    """One on disk, else one that was live once."""
    if len(to) < _SHORTEST_SHA:
        return None
    found = [release for release in candidates(site) if release.revision.startswith(to)]
    if not found:
        once = revisions.made_live_like(site.db, site.repo.name, to)
        found = [gone for each in once if (gone := _gone(site, each))]
    if len({release.revision for release in found}) > 1:
        raise UsageError(f"{to} is the beginning of several releases' shas: write more of it")
    return found[0] if found else None


def _gone(site: Site, brought: Deployment) -> ReleaseRecord | None:
    """What a deployment made live and the disk has no more; None where that revision is live.

    It keeps the number of the deployment that built it, so that it is as old as it was.
    """
    revision, live = brought.revision, site.layout.live()
    is_live = live is not None and (
        live.revision == revision or (live.release is not None and live.release == brought.release)
    )
    if revision is None or is_live:
        return None
    by = revisions.built(site.db, site.repo.name, revision, brought.release) or brought
    return ReleaseRecord(
        by.number, by.release, revision, GONE, by.subject, by.actor, by.finished_at
    )


def _match(
    known: Sequence[ReleaseRecord], revision: str | None, name: str | None
) -> ReleaseRecord | None:
    same = (release for release in known if release.revision == revision and release.name == name)
    return next(same, None)


def _place(release: ReleaseRecord) -> str:
    """What tells it from other releases on disk: its directory, in place its revision."""
    return release.name or release.revision
