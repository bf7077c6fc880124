"""Probation: check the health of a release for some time after it went live.

If a check fails, deployctl queues a rollback, which then runs like any other. The checks are made
by workers, after the queue is empty; so cron or a timer must start a worker regularly. The worker
holds the repo's lock file during a check, but no slot: so a long build of another repo does not
delay the check.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from deployctl.deploy.admission import Runtime
from deployctl.deploy.check_live import LiveRelease, probe, single_try
from deployctl.errors import DeployctlError, StoreError, in_words
from deployctl.notices import outbox
from deployctl.output.page import refresh_page
from deployctl.releases.choose import default_rollback_target
from deployctl.releases.release_config import config_of_live
from deployctl.releases.site import Site, open_site
from deployctl.store import deployments, locks_and_holds, probations, releases
from deployctl.store.database import Database
from deployctl.store.locks_and_holds import describe_lock
from deployctl.store.probations import Probation
from deployctl.system.clock import Instant, current_instant
from deployctl.system.leftovers import end_steps
from deployctl.system.locks import repo_lock, step_note_path
from deployctl.system.process import command_text
from deployctl.system.signals import interruptible
from deployctl.values.deployment import Deployment, Failure
from deployctl.values.times import duration

STAGE = "probation"


@dataclass(frozen=True)
class _LiveOnProbation:
    """A probation, the live release that it is about, and the deployment that made that live."""

    probation: Probation
    release: LiveRelease
    made_live_by: Deployment


def check_probation(runtime: Runtime, probation: Probation) -> bool:
    """Check a release on probation if a check is due; tell whether the lock file was held.

    If so, the caller must run the queue: it may contain the rollback, or a deployment that was
    queued meanwhile. An error of this repo is shown and not raised; StoreError is raised.
    """
    if not _is_due(runtime, probation, current_instant()):
        return False
    lock = repo_lock(runtime.config.state_dir, probation.repo)
    if not lock.acquire():
        return False
    try:
        with interruptible():
            _check(runtime, open_site(runtime.config, runtime.db, probation.repo), probation)
    except StoreError:  # it concerns all repos
        raise
    except (DeployctlError, OSError) as error:
        runtime.output.line(f"{probation.repo}: {in_words(error)}")
    finally:
        lock.release()
    return True


def _is_due(runtime: Runtime, probation: Probation, now: Instant) -> bool:
    """Tell whether a check is due; end the probation if its time is over and nothing failed.

    A probation that has failed stays in the record until another release is live, because
    `deployctl status` shows it.
    """
    db, repo = runtime.db, runtime.config.repos.get(probation.repo)
    lasts = repo.probation if repo else 0.0
    if probation.since.seconds_until(now) < lasts:
        return probation.rollback is None or _has_another_target(runtime, probation)
    if probation.failure is None or not lasts:
        _end(db, probation)
    return False


def _has_another_target(runtime: Runtime, probation: Probation) -> bool:
    """Tell whether the rollback of this probation failed and another release may be tried.

    The release that it failed with is no target any more.
    """
    rollback = deployments.get(runtime.db, probation.rollback or 0)
    if rollback is None or rollback.status not in ("failed", "rolled_back", "degraded"):
        return False
    site = open_site(runtime.config, runtime.db, probation.repo)
    return default_rollback_target(site, releases.of_repo(site.db, probation.repo)) is not None


def _check(runtime: Runtime, site: Site, probation: Probation) -> None:
    """Check the live release and record the result; the caller holds the repo's lock file.

    Nothing is checked while a deployment runs or may run next: what is live may change then.
    """
    db, name = site.db, site.repo.name
    if deployments.running(db, name) or probations.of_repo(db, name) != probation:
        return
    if _has_runnable(site):
        return
    end_steps(step_note_path(db.state_dir, name))  # of an earlier check whose process died
    subject = _live_on_probation(site, _restart_if_clock_went_back(db, probation))
    if subject is None:
        _end(db, probation)
        return
    failure = _check_health(subject)
    message = _record_healthy(subject) if failure is None else _record_failed(subject, failure)
    if message:
        runtime.output.line(f"{name}: {message}")
        refresh_page(site, runtime.output)


def _has_runnable(site: Site) -> bool:
    """Tell whether a deployment of the repo is queued that may run at once.

    It is not runnable while it waits for checks, or while a person has locked the repo.
    """
    db, name = site.db, site.repo.name
    waiting = any(deployment.awaits is None for deployment in deployments.queued(db, name))
    return waiting and locks_and_holds.lock_of(db, name) is None


def _restart_if_clock_went_back(db: Database, probation: Probation) -> Probation:
    """Return the probation; it begins again now if the clock was set back across a reboot.

    Otherwise it could last for years.
    """
    now = current_instant()
    if not probation.since.is_ahead_of(now):
        return probation
    probation = replace(probation, since=now)
    _save(db, probation)
    return probation


def _live_on_probation(site: Site, probation: Probation) -> _LiveOnProbation | None:
    """Return the live release of a probation; None if that is not live, or has no health check."""
    live = site.layout.live()
    if live is None:
        return None
    made_live_by = deployments.find_that_made_live(
        site.db, site.repo.name, live.revision, live.release
    )
    if made_live_by is None or made_live_by.number != probation.deployment:
        return None
    config = config_of_live(site, live.revision, live.release)
    healthcheck = config.pipeline.healthcheck
    if healthcheck is None:
        return None
    release = LiveRelease(site, live, config, healthcheck, made_live_by)
    return _LiveOnProbation(probation, release, made_live_by)


def _check_health(subject: _LiveOnProbation) -> Failure | None:
    """Return the failure of the health check, with its evidence, or None if all is well.

    One try is made first. Only if that fails, the whole health check decides, with all its tries:
    a single lost request is no failure.
    """
    site, whole = subject.release.site, subject.release.healthcheck
    note = step_note_path(site.db.state_dir, site.repo.name)
    for decides, healthcheck in enumerate((single_try(whole), whole)):
        result = probe(
            replace(subject.release, healthcheck=healthcheck),
            trigger="auto",
            actor=probations.ACTOR,
            step_note=note,
            with_evidence=bool(decides),
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


def _record_healthy(subject: _LiveOnProbation) -> str | None:
    """Record that the release is healthy; return a line for the output, or None.

    There is a line, and a notice, only if a notice said before that it was not healthy. At most
    two notices are sent for each probation: one that it failed, one that it is well again.
    """
    probation, site, now = subject.probation, subject.release.site, time.time()
    if probation.failure is None:
        return None
    reason = f"{_prefix(subject)} it is well again"
    healthy = replace(probation, failure=None, why=None)
    with site.db.writing() as connection:
        if probation.told != 1:
            probations.save(connection, healthy)
            return None
        probations.save(connection, replace(healthy, told=2))
        recovered = replace(subject.made_live_by, reason=reason, started_at=None)
        outbox.enqueue(connection, site.repo, recovered, recovered=True, now=now)
    return reason


def _record_failed(subject: _LiveOnProbation, failure: Failure) -> str | None:
    """Queue a rollback, or record why there is none; return a line for the output, or None.

    If there is no rollback, the first failure of the probation is shown and a notice is sent.
    """
    probation, site, now = subject.probation, subject.release.site, time.time()
    reason = f"{_prefix(subject)} {failure.message}"
    why = _reason_against_rollback(site)
    failed = replace(probation, failure=failure, why=why)
    with site.db.writing() as connection:
        if _has_runnable(site):
            return None
        if why is None:
            number = probations.queue_rollback(connection, probation, failure, reason, now)
            probations.save(connection, replace(failed, rollback=number))
            return None
        probations.save(connection, replace(failed, told=max(probation.told, 1)))
        if probation.told:
            return None
        broken = replace(
            subject.made_live_by, status="degraded", failure=failure, reason=why, started_at=None
        )
        outbox.enqueue(connection, site.repo, broken, recovered=False, now=now)
    return f"{reason}; {why}"


def _reason_against_rollback(site: Site) -> str | None:
    """Return why deployctl cannot roll back by itself, or None if it can."""
    name = site.repo.name
    lock = locks_and_holds.lock_of(site.db, name)
    if lock is not None:
        return describe_lock(name, lock)
    if not site.repo.auto_rollback:
        return "auto_rollback is off: the failed release stays live"
    if default_rollback_target(site, releases.of_repo(site.db, name)) is None:
        return "there is no earlier good release to go back to"
    return None


def _prefix(subject: _LiveOnProbation) -> str:
    """Return the beginning of a reason: which deployment, and how long it was live."""
    passed = duration(subject.probation.since.seconds_until(current_instant()))
    return f"in probation of #{subject.made_live_by.number} ({passed} after it went live):"


def _save(db: Database, probation: Probation) -> None:
    with db.writing() as connection:
        probations.save(connection, probation)


def _end(db: Database, probation: Probation) -> None:
    """End this probation, but not one that a newer deployment has begun meanwhile."""
    with db.writing() as connection:
        probations.end(connection, probation.repo, probation.deployment)
