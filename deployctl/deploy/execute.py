"""Execute one claimed deployment from start to end.

The order of the steps is:

1. :func:`begin` opens the log and records what is live now.
2. A deployment fetches the revision, runs the stages and so builds a release. A rollback chooses a
   release that is on disk, or builds it again (build.py). Nothing that is live has changed so far
   (except with the strategy ``in_place``, where the stages run in the live directory itself).
3. :func:`_go_live` switches to the release, restarts, and checks its health.
4. If a step fails or is interrupted, the release that was live before is restored (restore.py).
5. :func:`conclude` records the outcome, then the commands of ``post`` run, and old releases are
   removed.

A process that dies on the way does not get to step 4: recover.py does it later, from the record.
"""

from __future__ import annotations

import contextlib

from deployctl.deploy.attempt import Attempt, Outcome, Target, begin
from deployctl.deploy.build import build_release, choose_release
from deployctl.deploy.conclude import conclude, log_end
from deployctl.deploy.fetch import fetch
from deployctl.deploy.journal import StageFailed
from deployctl.deploy.post_commands import run_post
from deployctl.deploy.recover import cancelled_reason, has_attempts_left, queue_again
from deployctl.deploy.restore import is_live, roll_back, undo
from deployctl.deploy.skip import Skip, reason_to_skip
from deployctl.deploy.stages import check_health, run_commands
from deployctl.errors import DeployctlError, Interrupted, RefusedError
from deployctl.output.page import refresh_page
from deployctl.output.screen import Output
from deployctl.releases.choose import find_release
from deployctl.releases.disk_space import record_sizes
from deployctl.releases.prune import prune
from deployctl.releases.site import Site
from deployctl.store import deployments
from deployctl.store.queue import AUTOMATIC_TRIGGERS
from deployctl.system.signals import Interruptions, interruptible
from deployctl.values.deployment import REFUSED, Deployment, Failure


def execute(site: Site, deployment: Deployment, output: Output) -> Deployment:
    """Execute a claimed deployment and return it as recorded at its end.

    The caller holds the repo's lock file. A failed stage or a refusal raises nothing: it is in
    the returned deployment. Any other DeployctlError, a bug, Ctrl-C and a signal are raised again,
    after the release that was live before is live again and the outcome is recorded. An automatic
    deployment that a signal interrupted gets no outcome but goes back into the queue, up to its
    last attempt. The signal that `deployctl cancel` sends is not raised again: it ends this one
    deployment, not the process.
    """
    with begin(site, deployment, output) as attempt:
        with interruptible() as interruptions:
            outcome, raised = _run_or_undo(attempt, interruptions)
            if isinstance(raised, Interrupted) and _must_run_again(attempt, outcome):
                _requeue(attempt, raised)
                raise raised
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
    prune(site, attempt.journal)
    reason = queue_again(site, deployment, f"interrupted ({_signal_name(interruption)})")
    attempt.journal.line(f"{deployment.repo} #{deployment.number}: {reason}")
    refresh_page(site, attempt.journal)


def _run_or_undo(
    attempt: Attempt, interruptions: Interruptions
) -> tuple[Outcome, BaseException | None]:
    """Run the deployment; if an exception ends it, restore what was live before.

    Return the outcome, and the exception that the caller must raise again after it has recorded
    the outcome (None if there is none). From then on, and while the previous release is restored,
    signals are ignored.
    """
    try:
        outcome = _bring_live(attempt)
        interruptions.ignore()
    except (KeyboardInterrupt, Interrupted) as interruption:
        interruptions.ignore()
        actor = deployments.cancelled_by(attempt.site.db, attempt.deployment.number)
        signal_name = _signal_name(interruption)
        reason = cancelled_reason(actor) if actor else f"interrupted ({signal_name})"
        attempt.journal.note(reason=reason)  # `deployctl cancel` waits for it
        outcome = undo(attempt, Outcome("cancelled", reason=reason))
        if isinstance(interruption, KeyboardInterrupt):
            attempt.mark_stopped()
        return outcome, None if actor else interruption
    except DeployctlError as error:
        interruptions.ignore()
        return undo(attempt, Outcome("failed", reason=str(error))), error
    except Exception as bug:  # noqa: BLE001 - raised again once the previous release is restored
        interruptions.ignore()
        return undo(attempt, Outcome("failed", reason="a bug in deployctl")), bug
    else:
        return outcome, None


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
            target = choose_release(attempt)
        else:
            revision, subject = fetch(attempt)
            skip = reason_to_skip(attempt, revision, subject)
            if skip is not None:
                return _skipped_outcome(attempt, skip)
            target = build_release(attempt, revision)
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
        restart, healthcheck = config.pipeline.restart, config.pipeline.healthcheck
        run_commands(journal, "restart", restart, context, healthcheck)
        check_health(journal, "healthcheck", healthcheck, context, restarted=bool(restart))
    except StageFailed as failed:
        if failed.failure.stage == "switch" and not is_live(attempt, target):
            attempt.enter("building")  # nothing was switched to: undo() need not restart anything
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
