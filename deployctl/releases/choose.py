"""Choose the release that a rollback goes back to."""

from __future__ import annotations

from collections.abc import Sequence

from deployctl.errors import RefusedError, UsageError
from deployctl.releases.site import Site
from deployctl.store import deployments, locks_and_holds, releases, revisions
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.values.deployment import PHASES_WITHOUT_EFFECT, Deployment, Live

_SHORTEST_SHA = 4
_MAX_DIGITS = 16  # of a deployment's number: an integer in SQLite has at most 64 bits


def rollback_candidates(site: Site) -> list[ReleaseRecord]:
    """Return the releases that a person may roll back to, newest first.

    They were live and healthy, are complete on disk and are not live now.
    """
    live = site.layout.live()
    live_key = (live.release or live.revision) if live else None
    return [
        release
        for release in proven_releases(releases.of_repo(site.db, site.repo.name))
        if _disk_key(release) != live_key and site.layout.usable(release.name, release.revision)
    ]


def proven_releases(known: Sequence[ReleaseRecord]) -> list[ReleaseRecord]:
    """Return the releases that were live and healthy, in the order of ``known`` (newest first).

    In place, only the newest release of each revision is returned.
    """
    found: dict[str, ReleaseRecord] = {}
    for release in known:
        if release.state in {"good", "left"}:
            found.setdefault(_disk_key(release), release)
    return list(found.values())


def live_release(site: Site, known: Sequence[ReleaseRecord]) -> ReleaseRecord | None:
    """Return the release that is live; None where nothing is or deployctl did not build it."""
    live = site.layout.live()
    return _match(known, live.revision, live.release) if live else None


def find_release(site: Site, revision: str | None, name: str | None) -> ReleaseRecord | None:
    """Return the newest release of a revision in directory ``name`` (None: in place), or None."""
    return _match(releases.of_repo(site.db, site.repo.name), revision, name)


def default_rollback_target(site: Site, known: Sequence[ReleaseRecord]) -> ReleaseRecord | None:
    """Return the release that a rollback goes back to by default, or None.

    It was live and well, and its revision is neither held nor was it rolled back from. The first
    choice is the one that was live when the live one came, then come older ones, the newest first.
    An older build of the live revision is returned only where there is no other: it mostly has the
    same fault. ``known`` are all releases of the repo, newest first.
    """
    record, live = live_release(site, known), site.layout.live()
    excluded = {hold.revision for hold in locks_and_holds.holds_of(site.db, site.repo.name)}
    excluded |= _left_revisions(known)
    revision = live.revision if live else None
    good = [release for release in rollback_candidates(site) if release.state == "good"]
    others = [release for release in good if release.revision not in {*excluded, revision}]
    older = [
        release
        for release in (*others, *(one for one in good if one.revision == revision))
        if record is None or release.number < record.number
    ]
    before = _live_before(site, known, live)
    return next(iter([release for release in others if release == before] + older), None)


def _live_before(
    site: Site, known: Sequence[ReleaseRecord], live: Live | None
) -> ReleaseRecord | None:
    """Return the release that was live when the live one came; None if the record has none."""
    if live is None:
        return None
    by = deployments.find_that_made_live(site.db, site.repo.name, live.revision, live.release)
    if by is None:
        return None
    return _match(known, by.previous_revision, site.layout.release_of(by.previous_link))


def _left_revisions(known: Sequence[ReleaseRecord]) -> set[str]:
    """Return the revisions that a rollback left and that were not good after that."""
    newest_states: dict[str, str] = {}
    for release in proven_releases(known):
        newest_states.setdefault(release.revision, release.state)
    return {revision for revision, state in newest_states.items() if state == "left"}


def rollback_target(site: Site, to: str | None) -> ReleaseRecord:
    """Return the release that ``--to`` names or, where ``to`` is None, the default one.

    ``to`` is the number of a deployment, with or without ``#``, or the beginning of a sha. A named
    release may have the state :data:`GONE`: then it must be built again. The default one is always
    on disk. RefusedError where there is no such release; UsageError where several revisions begin
    with ``to``.
    """
    if to is None:
        known = releases.of_repo(site.db, site.repo.name)
        target = default_rollback_target(site, known)
        if target is None:
            raise RefusedError(
                f"{site.repo.name} has no earlier good release to roll back to; "
                f"see: deployctl rollback {site.repo.name} --list"
            )
        return target
    return _named_release(site, to.lstrip("#").lower())


def _named_release(site: Site, to: str) -> ReleaseRecord:
    """Return the release of the deployment of that number, else of a sha that begins so."""
    found = _by_number(site, to) or _by_sha(site, to)
    if found is None:
        raise RefusedError(
            f"{site.repo.name} has no release {to} to roll back to; "
            f"see: deployctl rollback {site.repo.name} --list"
        )
    return found


def _by_number(site: Site, to: str) -> ReleaseRecord | None:
    """Return the release that a deployment made live, by building it or by a rollback to it.

    None where ``to`` is no number of such a deployment of this repo.
    """
    is_number = to.isascii() and to.isdigit() and len(to) < _MAX_DIGITS
    named = deployments.get(site.db, int(to)) if is_number else None
    if named is None or named.repo != site.repo.name:
        return None
    if named.status != "succeeded" or named.phase in PHASES_WITHOUT_EFFECT:
        return None
    return _match(rollback_candidates(site), named.revision, named.release) or _gone_release(
        site, named
    )


def _by_sha(site: Site, to: str) -> ReleaseRecord | None:
    """Return the newest release on disk whose sha begins with ``to``, else one that was live."""
    if len(to) < _SHORTEST_SHA:
        return None
    found = [release for release in rollback_candidates(site) if release.revision.startswith(to)]
    if not found:
        past = revisions.find_by_sha_prefix(site.db, site.repo.name, to)
        found = [gone for deployment in past if (gone := _gone_release(site, deployment))]
    if len({release.revision for release in found}) > 1:
        raise UsageError(f"{to} is the beginning of several releases' shas: write more of it")
    return found[0] if found else None


def _gone_release(site: Site, deployment: Deployment) -> ReleaseRecord | None:
    """Return the release that a deployment made live and that is no longer on disk.

    None where its revision is live. The release has the number of the deployment that built it, not
    of a rollback to it, because the order of releases is that of these numbers.
    """
    revision, live = deployment.revision, site.layout.live()
    is_live = live is not None and (
        live.revision == revision
        or (live.release is not None and live.release == deployment.release)
    )
    if revision is None or is_live:
        return None
    builder = (
        revisions.find_that_built(site.db, site.repo.name, revision, deployment.release)
        or deployment
    )
    return ReleaseRecord(
        number=builder.number,
        name=builder.release,
        revision=revision,
        state=GONE,
        subject=builder.subject,
        actor=builder.actor,
        built_at=builder.finished_at,
    )


def _match(
    known: Sequence[ReleaseRecord], revision: str | None, name: str | None
) -> ReleaseRecord | None:
    matches = (
        release for release in known if release.revision == revision and release.name == name
    )
    return next(matches, None)


def _disk_key(release: ReleaseRecord) -> str:
    """Return what identifies a release on disk: its directory or, in place, its revision."""
    return release.name or release.revision
