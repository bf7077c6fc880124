"""Probation: what went live is checked for a while longer, and left again where it fails late.

Whoever works the queue off looks after it, so it takes cron or a timer. The repo's lock is held
meanwhile, and no place on the machine: a long build of another repo keeps no check from its time.
What is decided upon is a rollback in the queue like any other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from deployctl.deploy.admission import Runtime
from deployctl.deploy.probe import LiveRelease, probe, single_try
from deployctl.errors import DeployctlError, StoreError, in_words
from deployctl.notices import outbox
from deployctl.output.page import refresh_page
from deployctl.releases.choose import default_target
from deployctl.releases.release_config import config_of_live
from deployctl.releases.site import Site, open_site
from deployctl.store import deployments, freezes, probations, releases
from deployctl.store.database import Database
from deployctl.store.freezes import describe_lock
from deployctl.store.probations import Probation
from deployctl.system.clock import Instant, current_instant
from deployctl.system.leftovers import end_steps
from deployctl.system.locks import repo_lock, step_note
from deployctl.system.process import command_text
from deployctl.system.signals import interruptible
from deployctl.values.deployment import Deployment, Failure
from deployctl.values.times import duration

STAGE = "probation"


@dataclass(frozen=True)
class _Watched:
    """A probation, the release that is live on it, and the deployment that made it live."""

    probation: Probation
    release: LiveRelease
    made_live_by: Deployment


def check_probation(runtime: Runtime, probation: Probation) -> bool:
    """Check what is on probation -> whether the repo was ours for a while.

    Then its queue may have something that came meanwhile, or the rollback.
    """
    if not _is_due(runtime, probation, current_instant()):
        return False
    lock = repo_lock(runtime.config.state_dir, probation.repo)
    if not lock.acquire():
        return False
    try:
        with interruptible():
            _look(runtime, open_site(runtime.config, runtime.db, probation.repo), probation)
    except StoreError:  # it is the trouble of all repos
        raise
    except (DeployctlError, OSError) as error:
        runtime.output.line(f"{probation.repo}: {in_words(error)}")
    finally:
        lock.release()
    return True


def _is_due(runtime: Runtime, probation: Probation, now: Instant) -> bool:
    """What was found last stays in the record until something else is live: status tells of it."""
    db, repo = runtime.db, runtime.config.repos.get(probation.repo)
    lasts = repo.probation if repo else 0.0
    if probation.since.until(now) < lasts:
        return not _is_seen_to(db, probation)
    if probation.failure is None or not lasts:
        _end(db, probation)
    return False


def _is_seen_to(db: Database, probation: Probation) -> bool:
    """Whether the way back was tried, which is done once, unless a newer request took its place."""
    if probation.rollback is None:
        return False
    rollback = deployments.get(db, probation.rollback)
    return rollback is None or rollback.status != "superseded"


def _look(runtime: Runtime, site: Site, probation: Probation) -> None:
    """Not while something runs or may run next: what that leaves live is looked at then."""
    db, name = site.db, site.repo.name
    if deployments.running(db, name) or probations.of_repo(db, name) != probation:
        return
    if _has_next(site):
        return
    end_steps(step_note(db.state_dir, name))  # of a check whose process died
    watched = _watched(site, _counted_anew(db, probation))
    if watched is None:
        _end(db, probation)
        return
    failure = _late_failure(watched)
    told = _well(watched) if failure is None else _unwell(watched, failure)
    if told:
        runtime.output.line(f"{name}: {told}")
        refresh_page(site, runtime.output)


def _has_next(site: Site) -> bool:
    """Whether something waits that nothing keeps from running: it takes the place of all this."""
    db, name = site.db, site.repo.name
    waiting = any(each.awaits is None for each in deployments.queued(db, name))
    return waiting and freezes.lock_of(db, name) is None


def _counted_anew(db: Database, probation: Probation) -> Probation:
    """Where the clock was set back across a reboot it begins again, or it might last for years."""
    now = current_instant()
    if not probation.since.is_ahead_of(now):
        return probation
    probation = replace(probation, since=now)
    _save(db, probation)
    return probation


def _watched(site: Site, probation: Probation) -> _Watched | None:
    """None where what was on probation is not live any more, or cannot be checked."""
    live = site.layout.live()
    if live is None:
        return None
    brought = deployments.made_live(site.db, site.repo.name, live.revision, live.release)
    if brought is None or brought.number != probation.deployment:
        return None
    config = config_of_live(site, live.revision, live.release)
    healthcheck = config.pipeline.healthcheck
    if healthcheck is None:
        return None
    release = LiveRelease(site, live, config, healthcheck, brought)
    return _Watched(probation, release, brought)


def _late_failure(watched: _Watched) -> Failure | None:
    """One try, and only where that is bad all that a deployment asks: a lost request is no news."""
    site, whole = watched.release.site, watched.release.healthcheck
    noted = step_note(site.db.state_dir, site.repo.name)
    for decides, healthcheck in enumerate((single_try(whole), whole)):
        result = probe(
            replace(watched.release, healthcheck=healthcheck),
            trigger="auto",
            actor=probations.ACTOR,
            noted=noted,
            explained=bool(decides),
        )
        if result.ok:
            return None
    return Failure(
        stage=STAGE,
        message=result.message,
        command=command_text(result.command) if result.command else None,
        exit_code=result.exit_code,
        signal=result.signal,
        timed_out=result.timed_out,
        tail=result.tail,
    )


def _well(watched: _Watched) -> str | None:
    """-> what is to be said of it: only where it was not well, and that was told."""
    probation, site, now = watched.probation, watched.release.site, time.time()
    if probation.failure is None:
        return None
    reason = f"{_when(watched)} it is well again"
    well = replace(probation, failure=None, why=None)
    with site.db.writing() as connection:
        if probation.told != 1:
            probations.save(connection, well)
            return None
        probations.save(connection, replace(well, told=2))
        found = replace(watched.made_live_by, reason=reason, started_at=None)
        outbox.enqueue(connection, site.repo, found, recovered=True, now=now)
    return reason


def _unwell(watched: _Watched, failure: Failure) -> str | None:
    """Queue the way back, or keep why there is none and tell that once -> what is to be said."""
    probation, site, now = watched.probation, watched.release.site, time.time()
    reason = f"{_when(watched)} {failure.message}"
    why = _why_not(site)
    found = replace(probation, failure=failure, why=why)
    with site.db.writing() as connection:
        if _has_next(site):
            return None
        if why is None:
            number = probations.queue_rollback(connection, probation, failure, reason, now)
            probations.save(connection, replace(found, rollback=number))
            return None
        probations.save(connection, replace(found, told=max(probation.told, 1)))
        if probation.told:
            return None
        broken = replace(
            watched.made_live_by, status="degraded", failure=failure, reason=why, started_at=None
        )
        outbox.enqueue(connection, site.repo, broken, recovered=False, now=now)
    return f"{reason}; {why}"


def _why_not(site: Site) -> str | None:
    """What keeps deployctl from going back by itself."""
    name = site.repo.name
    lock = freezes.lock_of(site.db, name)
    if lock is not None:
        return describe_lock(name, lock)
    if not site.repo.auto_rollback:
        return "auto_rollback is off: the failed release stays live"
    if default_target(site, releases.of_repo(site.db, name)) is None:
        return "there is no earlier good release to go back to"
    return None


def _when(watched: _Watched) -> str:
    passed = duration(watched.probation.since.until(current_instant()))
    return f"in probation of #{watched.made_live_by.number} ({passed} after it went live):"


def _save(db: Database, probation: Probation) -> None:
    with db.writing() as connection:
        probations.save(connection, probation)


def _end(db: Database, probation: Probation) -> None:
    """This one: a newer deployment may have begun its own meanwhile."""
    with db.writing() as connection:
        probations.end(connection, probation.repo, probation.deployment)
