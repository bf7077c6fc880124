"""Execute one claimed deployment from start to end.

The order of the steps is:

1. :func:`begin` opens the log and records what is live now.
2. A deployment fetches the revision, runs the stages and so builds a release. A rollback chooses a
   release that is on disk, or builds it again. Nothing that is live has changed so far (except
   with the strategy ``in_place``, where the stages run in the live directory itself).
3. :func:`_go_live` switches to the release, restarts, and checks its health.
4. If a step fails or is interrupted, the release that was live before is restored (restore.py).
5. :func:`conclude` records the outcome, then the commands of ``post`` run, and old releases are
   removed.

A process that dies on the way does not get to step 4: recover.py does it later, from the record.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace

from deployctl.deploy.attempt import Attempt, Outcome, Target, begin
from deployctl.deploy.conclude import conclude, log_end
from deployctl.deploy.fetch import fetch
from deployctl.deploy.journal import StageFailed, StageJournal
from deployctl.deploy.limits import limits_of, low_priority_prefix
from deployctl.deploy.post import run_post
from deployctl.deploy.recover import has_attempts_left, queue_again
from deployctl.deploy.restore import roll_back, undo
from deployctl.deploy.skip import AUTOMATIC_TRIGGERS, Skip, reason_to_skip
from deployctl.deploy.stages import WhenFacts, check_health, run_commands, run_stages
from deployctl.errors import DeployctlError, Interrupted, RefusedError, UsageError
from deployctl.output.page import refresh_page
from deployctl.output.screen import Output
from deployctl.releases.caches import copy_caches
from deployctl.releases.choose import choose_target, find_release
from deployctl.releases.prune import prune
from deployctl.releases.release_config import config_of_release, config_of_revision
from deployctl.releases.room import record_sizes, require_room
from deployctl.releases.site import Site
from deployctl.store import deployments, releases
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.system.signals import interruptible, shielded
from deployctl.values.deployment import REFUSED, Deployment, Failure


def execute(site: Site, deployment: Deployment, output: Output) -> Deployment:
    """Execute a claimed deployment and return it as recorded at its end.

    The caller holds the repo's lock file. A failed stage raises nothing: it is in the returned
    deployment. Any other DeployctlError, a bug, Ctrl-C and a signal are raised again, after the
    release that was live before is live again and the outcome is recorded. An automatic deployment
    that a signal interrupted gets no outcome but goes back into the queue, up to its last attempt.
    The signal that `deployctl cancel` sends is not raised again: it ends this one deployment, not
    the process.
    """
    with begin(site, deployment, output) as attempt:
        outcome, raised = _run_or_undo(attempt)
        if isinstance(raised, Interrupted) and _must_run_again(attempt, outcome):
            _requeue(attempt, raised)
            raise raised
        with shielded():
            ended = conclude(attempt, outcome)
        raised = run_post(attempt, outcome) or raised
        log_end(attempt, ended)
        ended = deployments.get(site.db, ended.number) or ended  # now with the stage "post"
        prune(site, attempt.journal)
        record_sizes(site, attempt.journal)
        refresh_page(site, attempt.journal)
    if raised is not None:
        raise raised
    return ended


def _must_run_again(attempt: Attempt, outcome: Outcome) -> bool:
    """Tell whether an interrupted deployment goes back into the queue.

    Only an automatic one does: the person at the terminal sees that a deployment was interrupted,
    but no person sees it when a webhook or cron asked for the deployment.
    """
    deployment, stopped = attempt.deployment, outcome.status == "cancelled"
    return stopped and deployment.trigger in AUTOMATIC_TRIGGERS and has_attempts_left(deployment)


def _requeue(attempt: Attempt, interruption: Interrupted) -> None:
    """Put an interrupted deployment back into the queue, and log that."""
    site, deployment = attempt.site, attempt.deployment
    with shielded():
        prune(site, attempt.journal)
        reason = queue_again(site, deployment, f"interrupted ({_signal_name(interruption)})")
        attempt.journal.line(f"{deployment.repo} #{deployment.number}: {reason}")
        refresh_page(site, attempt.journal)


def _run_or_undo(attempt: Attempt) -> tuple[Outcome, BaseException | None]:
    """Run the deployment; if an exception ends it, restore what was live before.

    Return the outcome, and the exception that the caller must raise again after it has recorded
    the outcome (None if there is none). Signals are ignored while the previous release is restored.
    """
    try:
        with interruptible():
            return _bring_live(attempt), None
    except (KeyboardInterrupt, Interrupted) as interruption:
        with shielded():
            actor = deployments.cancelled_by(attempt.site.db, attempt.deployment.number)
            signal_name = _signal_name(interruption)
            reason = f"cancelled by {actor}" if actor else f"interrupted ({signal_name})"
            outcome = undo(attempt, Outcome("cancelled", reason=reason))
            if isinstance(interruption, KeyboardInterrupt):
                attempt.mark_stopped()
            return outcome, None if actor else interruption
    except DeployctlError as error:
        with shielded():
            return undo(attempt, Outcome("failed", reason=str(error))), error
    except Exception as bug:  # noqa: BLE001 - raised again once the previous release is restored
        with shielded():
            return undo(attempt, Outcome("failed", reason="a bug in deployctl")), bug


def _bring_live(attempt: Attempt) -> Outcome:
    """Build or choose the release, then make it live.

    A failed stage becomes an outcome here. Other errors and interruptions are raised; their caller
    undoes what was begun.
    """
    if attempt.start_error is not None:
        return Outcome("failed", failure=_failure_to_begin(attempt, attempt.start_error))
    _log_probation_failure(attempt)
    try:
        if attempt.deployment.task == "rollback":
            target = _choose_or_rebuild_release(attempt)
        else:
            revision, subject = fetch(attempt)
            skip = reason_to_skip(attempt, revision, subject)
            if skip is not None:
                return _skipped_outcome(attempt, skip)
            target = _build(attempt, revision)
    except RefusedError as refused:
        return Outcome("cancelled", reason=str(refused), phase=REFUSED)
    except StageFailed as failed:
        return undo(attempt, Outcome("failed", failure=failed.failure))
    return _go_live(attempt, target)


def _log_probation_failure(attempt: Attempt) -> None:
    """Log the failed check that made deployctl queue this rollback, as its first stage.

    Only a rollback that deployctl queued because the live release failed in probation has a
    failure before it begins; nothing is logged for other deployments.
    """
    failure = attempt.deployment.failure
    if failure is None:
        return
    with contextlib.suppress(StageFailed), attempt.journal.stage(failure.stage) as stage:
        for line in (attempt.deployment.reason or "", *failure.tail.splitlines()):
            stage.line(line)
        raise StageFailed(failure)


def _failure_to_begin(attempt: Attempt, error: DeployctlError) -> Failure:
    """Log a failed stage "prepare" for the error, and return its failure."""
    try:
        with attempt.journal.stage("prepare"):
            raise error
    except StageFailed as failed:
        return failed.failure


def _skipped_outcome(attempt: Attempt, skip: Skip) -> Outcome:
    """Return the success of a deployment that had nothing to do; no notice is sent for it."""
    live = attempt.previous
    attempt.journal.note(release=live.release if live else None)
    return Outcome("succeeded", reason=skip.reason, phase=skip.phase, quiet=True)


def _build(attempt: Attempt, revision: str) -> Target:
    """Build a new release of the revision: prepare its files, then run all stages.

    Nothing that is live changes, except with the strategy ``in_place``. Raises StageFailed.
    """
    with attempt.journal.stage("prepare") as stage:
        attempt.config = config_of_revision(attempt.site, revision)
        attempt.site.layout.check()
        require_room(attempt.site, stage)
        target = _prepare(attempt, stage, attempt.deployment.number, revision)
    return _run_through_stages(attempt, target)


def _prepare(attempt: Attempt, stage: StageJournal, number: int, revision: str) -> Target:
    """Put the files of the revision into the directory where the stages run.

    The release is recorded before its files are written, so that recovery can remove them after a
    crash. ``number`` is that of the deployment that builds the release, or first built it.
    """
    site, layout = attempt.site, attempt.site.layout
    target = Target(number, revision, layout.new_name(number, revision))
    with site.db.writing() as connection:
        config = attempt.need_config().stored()
        releases.begin(connection, site.repo.name, number, target.name, revision, config)
    attempt.journal.note(release=target.name)
    attempt.target = target
    _record_adopted_release(attempt)
    for line in layout.prepare(number, revision, target.name):
        stage.line(line)
    for line in copy_caches(
        site, attempt.need_config().pipeline.cache, target.name, low_priority_prefix(site.repo)
    ):
        stage.line(line)
    return target


def _run_through_stages(attempt: Attempt, target: Target) -> Target:
    """Run the stages of the pipeline in the directory of the release, and return the release."""
    attempt.queue_started_notice()
    directory = attempt.site.layout.directory(target.name)
    config = attempt.need_config()
    context = attempt.step_context(config, target.revision, target.name, directory)
    context = replace(context, limits=limits_of(attempt.site.repo, attempt.journal.line))
    failed = run_stages(
        attempt.journal, config.pipeline.stages, context, _when_facts(attempt, target)
    )
    if failed:
        attempt.journal.note(reason=f"failed, as allow_failure lets it: {', '.join(failed)}")
    return target


def _when_facts(attempt: Attempt, target: Target) -> WhenFacts:
    """Return the facts that ``when`` of a stage is compared with.

    The changed paths are computed only when a stage asks for them, and once.
    """
    site, live, deployment = attempt.site, attempt.previous, attempt.deployment
    mirror = site.mirror

    @functools.cache
    def changed() -> list[str] | None:
        if live is None or live.revision is None or not mirror.has(live.revision):
            return None
        return mirror.changed_paths(live.revision, target.revision)

    # A rollback has no ref of its own: the deployment that built the release has one.
    built_by = deployments.get(site.db, target.number)
    ref = deployment.ref or (built_by.ref if built_by else None)
    return WhenFacts(ref, deployment.task, changed)


def _record_adopted_release(attempt: Attempt) -> None:
    """Record what is live as a good release, if deployctl did not deploy it but can keep it.

    So a later rollback can go back to it. Such a release has the number 0.
    """
    site = attempt.site
    revision = site.layout.adopt()
    if revision is None or find_release(site, revision, None):
        return
    with site.db.writing() as connection:
        releases.begin(connection, site.repo.name, 0, None, revision)
        releases.set_state(connection, site.repo.name, 0, "good")


def _choose_or_rebuild_release(attempt: Attempt) -> Target:
    """Return the release that a rollback goes back to, on disk and ready to be switched to.

    It is chosen now and not when the rollback was queued: this process holds the repo's lock file,
    so nothing else can change what is live. A release that is no longer on disk is built again, as
    a deployment builds it. Raises StageFailed, and RefusedError if there is nothing to go back to.
    """
    with attempt.journal.stage("prepare") as stage:
        attempt.site.layout.check()
        chosen = _choose_and_record_release(attempt)
        if chosen.state != GONE:
            attempt.config = config_of_release(attempt.site, chosen)
            # With the trigger "auto" the live release has failed its health check: a missing
            # secret must not keep it live.
            if attempt.deployment.trigger != "auto":
                attempt.need_secrets(attempt.config)
            return Target(chosen.number, chosen.revision, chosen.name)
        require_room(attempt.site, stage)
        target = _prepare_removed_release(attempt, stage, chosen)
    return _run_through_stages(attempt, target)


def _prepare_removed_release(attempt: Attempt, stage: StageJournal, gone: ReleaseRecord) -> Target:
    """Prepare a release that is no longer on disk once more, under its old number."""
    site = attempt.site
    stage.line(f"{gone.revision[:12]} is no longer on disk: building it again")
    site.mirror.bring(gone.revision, f"refs/heads/{site.repo.branch}")
    attempt.config = config_of_revision(site, gone.revision)
    try:
        site.layout.discard(gone.number, gone.name)
    except DeployctlError as error:  # part of it stays; the new release gets another name
        stage.line(f"warning: {error}")
    return _prepare(attempt, stage, gone.number, gone.revision)


def _choose_and_record_release(attempt: Attempt) -> ReleaseRecord:
    """Choose the release that the rollback asks for, and record it in the deployment.

    The deployment that this rollback undoes (the one that made live what is live now) is recorded
    as ``rollback_of``. Raises RefusedError if there is no such release, or if ``rollback_of`` was
    given with the request and is not live any more.
    """
    site, live = attempt.site, attempt.previous
    try:
        chosen = choose_target(site, attempt.deployment.rollback_to)
    except UsageError as error:
        # Not a usage error now: the command that queued this rollback may have ended long ago.
        raise RefusedError(str(error)) from None
    attempt.deployment = replace(attempt.deployment, revision=chosen.revision, release=chosen.name)
    undone = None
    if live is not None:
        undone = deployments.made_live(site.db, site.repo.name, live.revision, live.release)
    expected = attempt.deployment.rollback_of
    if expected is not None and expected != (undone.number if undone else None):
        raise RefusedError(f"#{expected}, which this rollback was to undo, is not live any more")
    attempt.journal.note(
        revision=chosen.revision,
        release=chosen.name,
        subject=chosen.subject,
        rollback_of=undone.number if undone else None,
    )
    return chosen


def _go_live(attempt: Attempt, target: Target) -> Outcome:
    """Switch to the release, restart, check its health; return the outcome.

    If one of these fails, the release that was live before is made live, restarted and checked
    again (:func:`roll_back`).
    """
    site, journal = attempt.site, attempt.journal
    attempt.enter("switching")
    try:
        _switch(attempt, target)
        config = attempt.need_config()
        directory = site.layout.live_directory()
        context = attempt.step_context(config, target.revision, target.name, directory)
        if attempt.deployment.task == "rollback":
            run_commands(journal, "on_rollback", config.pipeline.on_rollback, context)
        run_commands(journal, "restart", config.pipeline.restart, context)
        check_health(journal, "healthcheck", config.pipeline.healthcheck, context)
    except StageFailed as failed:
        if failed.failure.stage == "switch" and site.layout.live() == attempt.previous:
            attempt.enter("building")  # nothing live has changed: undo() need not restart it
            return undo(attempt, Outcome("failed", failure=failed.failure))
        return roll_back(attempt, target, failed.failure)
    return _success_outcome(attempt, target)


def _success_outcome(attempt: Attempt, target: Target) -> Outcome:
    """Return the outcome for a release that is live and healthy.

    A rollback also holds the revision that was live before it, so that sync does not deploy that
    again.
    """
    attempt.target = target
    if attempt.deployment.task == "deploy" or attempt.previous is None:
        return Outcome("succeeded")
    left, release = attempt.previous.revision, attempt.previous.release
    record = find_release(attempt.site, left, release)
    newer = record.number if record and record.number > target.number else None
    # If both releases are of one revision, a hold on it would hold what is live now.
    hold = left if left != target.revision else None
    return Outcome("succeeded", revision_to_hold=hold, left_release=newer)


def _switch(attempt: Attempt, target: Target) -> None:
    """Make the release live, as the stage "switch"; raises StageFailed."""
    layout = attempt.site.layout
    with attempt.journal.stage("switch") as stage:
        if attempt.target is not None:  # this attempt built it
            layout.complete(target.name, target.revision)
        for line in layout.switch(attempt.deployment.number, target.revision, target.name):
            stage.line(line)


def _signal_name(interruption: BaseException) -> str:
    """Return the name of the signal, such as SIGTERM, or Ctrl-C."""
    return getattr(interruption, "signal_name", "Ctrl-C")
