"""Restore the release that was live before, after a deployment failed or was interrupted.

:func:`roll_back` is used when a release failed after the switch to it; the result is
``rolled_back``. :func:`undo` is used for everything else: a failed build, an interruption, a
process that died. If restoring fails as well, both return the status ``degraded``: the operator
must act, so a notice is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployctl.deploy.attempt import Attempt, Outcome, Target
from deployctl.deploy.journal import Journal, StageFailed
from deployctl.deploy.stages import check_health, run_commands
from deployctl.deploy.steps import StageContext
from deployctl.errors import DeployctlError, in_words
from deployctl.system.command import Command
from deployctl.system.process_tree import end_marked
from deployctl.values.deployment import LEFT_LIVE, Failure

_TRIES = 2  # to restore what was live


def roll_back(attempt: Attempt, target: Target, failure: Failure) -> Outcome:
    """Make live again what was live before ``target``, restart and check it; return the outcome.

    ``failure`` is the failure of ``target`` after the switch. The status is ``rolled_back``;
    ``degraded`` if the way back fails too, or if ``auto_rollback`` is off; ``failed`` if there is
    nothing well to go back to: then ``target`` stays live.
    """
    nothing_before = _why_nothing_to_go_back_to(attempt)
    if nothing_before is not None:
        attempt.target = target  # its release is recorded as bad, also one that a rollback chose
        return Outcome("failed", f"{nothing_before}: it stays live", failure, phase=LEFT_LIVE)
    hold = _revision_to_hold(attempt, target)
    left = target.number if attempt.deployment.task == "rollback" else None
    if not attempt.site.repo.auto_rollback:
        return Outcome(
            "degraded",
            reason="auto_rollback is off: the failed release stays live",
            failure=failure,
        )
    second = _restore_and_check(attempt)
    if second is not None:
        reason = f"going back failed too, in {second.stage}: {second.message}"
        status = "degraded"
    else:
        status, reason = "rolled_back", failure.message
    return Outcome(status, reason, failure, revision_to_hold=hold, left_release=left)


def _why_nothing_to_go_back_to(attempt: Attempt) -> str | None:
    if attempt.previous is None:
        return "a first deployment has nothing to go back to"
    if attempt.previous_is_bad:
        return "what was live before was not well either"
    return None


def _revision_to_hold(attempt: Attempt, target: Target) -> str | None:
    """Return the revision that failed and must be held, or None.

    A failed rollback to another release of the live revision holds nothing: that revision is live
    again afterwards.
    """
    previous = attempt.previous.revision if attempt.previous else None
    is_deployment = attempt.deployment.task == "deploy"
    return target.revision if is_deployment or target.revision != previous else None


def _restore_and_check(attempt: Attempt, *, checked: bool = True) -> Failure | None:
    """Switch back to what was live, restart it and, if ``checked``, check its health.

    Return the first failure, or None. A failed ``on_rollback`` does not stop the restart.
    """
    site, journal, previous = attempt.site, attempt.journal, attempt.previous
    # Before anything is logged or recorded: a full disk must not keep a broken release live.
    error = _restore_layout(attempt) or attempt.start_error
    try:
        with journal.stage("rollback"):
            if error is not None:
                raise error
            config = attempt.previous_config()
        revision, release = (previous.revision, previous.release) if previous else (None, None)
        context = attempt.step_context(
            config, revision, release, site.layout.live_directory(), going_back=True
        )
        pipeline = config.pipeline
        hook_failure = _run_on_rollback(journal, pipeline.on_rollback, context)
        run_commands(journal, "rollback restart", pipeline.restart, context, pipeline.healthcheck)
        if checked:
            restarted = bool(pipeline.restart)
            name, healthcheck = "rollback healthcheck", pipeline.healthcheck
            check_health(journal, name, healthcheck, context, restarted=restarted)
    except StageFailed as failed:
        return failed.failure
    return hook_failure


def _run_on_rollback(
    journal: Journal, commands: Sequence[Command], context: StageContext
) -> Failure | None:
    """Run the commands of ``on_rollback``, and return their failure, or None.

    The failure is returned and not raised, so that the restored release is restarted anyway.
    """
    try:
        run_commands(journal, "rollback on_rollback", commands, context)
    except StageFailed as failed:
        return failed.failure
    return None


def undo(attempt: Attempt, outcome: Outcome) -> Outcome:
    """Undo what the attempt did, by its phase, and return the outcome to record.

    In the phase "claimed" nothing was begun. After "building" the layout is restored. After
    "switching" the release that was live before is restored, restarted and checked as well. The
    returned outcome is ``outcome``, or ``degraded`` with a longer reason if undoing failed.
    """
    if attempt.phase == "claimed":
        return outcome
    if attempt.phase == "switching" and attempt.previous is not None:
        # deployctl's own rollback began because the previous release failed its health check, and
        # a bad one has failed it before: the check would only fail again.
        is_unwell = attempt.deployment.is_own_rollback or attempt.previous_is_bad
        left = _switched_to(attempt)
        second = _restore_and_check(attempt, checked=not is_unwell)
        if second is None:
            return outcome
        return _degraded_outcome(outcome, second.message, left)
    left = _switched_to(attempt)
    error = _restore_layout(attempt)
    if error is not None:
        return _outcome_where_not_restored(attempt, outcome, in_words(error), left)
    if attempt.previous is None:
        # Nothing is live: also end the processes that a restart of this attempt started.
        end_marked(attempt.marker)
    return outcome


def _restore_layout(attempt: Attempt) -> DeployctlError | OSError | None:
    """Make live on disk what was live before; return the error if that failed, else None.

    It is tried twice, so that one accident, such as a killed git process, does not decide it.
    """
    last_error = None
    for _ in range(_TRIES):
        try:
            attempt.site.layout.restore(attempt.previous)
        except (DeployctlError, OSError) as error:
            last_error = error
        else:
            return None
    return last_error


def _switched_to(attempt: Attempt) -> str | None:
    """Return the revision that the attempt has switched to; None if it has not switched yet."""
    target = attempt.target
    has_switched = target and attempt.phase == "switching" and is_live(attempt, target)
    return target.revision if target and has_switched else None


def is_live(attempt: Attempt, target: Target) -> bool:
    """Tell whether the target is what is live now; False if that cannot be read."""
    try:
        live = attempt.site.layout.live()
    except DeployctlError:
        return False
    return live is not None and (live.revision, live.release) == (target.revision, target.name)


def _outcome_where_not_restored(
    attempt: Attempt, outcome: Outcome, why: str, left: str | None
) -> Outcome:
    """Return the outcome where restoring failed: degraded, unless what was live is still live."""
    try:
        is_unchanged = attempt.site.layout.is_whole(attempt.previous)
    except (DeployctlError, OSError):
        is_unchanged = False
    if not is_unchanged:
        return _degraded_outcome(outcome, why, left)
    attempt.journal.line(f"cannot clean up: {why}")
    return outcome


def _degraded_outcome(outcome: Outcome, why: str, left: str | None) -> Outcome:
    """Return the outcome ``degraded``, with the reason of ``outcome`` and why undoing failed.

    The revision ``left``, which was switched to, is held; None if there was no switch.
    """
    reason = f"{outcome.reason or outcome.status}; going back failed: {why}"
    return replace(outcome, status="degraded", reason=reason, revision_to_hold=left)
