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
from deployctl.values.deployment import Failure

_TRIES = 2  # to restore what was live


def roll_back(attempt: Attempt, target: Target, failure: Failure) -> Outcome:
    """Make live again what was live before ``target``, restart and check it; return the outcome.

    ``failure`` is the failure of ``target`` after the switch. The status is ``rolled_back``;
    ``degraded`` if the way back fails too, or if ``auto_rollback`` is off; ``failed`` for a first
    deployment, after which nothing is live.
    """
    hold = _revision_to_hold(attempt, target)
    if not attempt.site.repo.auto_rollback:
        return Outcome(
            "degraded",
            reason="auto_rollback is off: the failed release stays live",
            failure=failure,
        )
    if attempt.previous is None:
        return undo(
            attempt,
            Outcome(
                "failed",
                reason="a first deployment has nothing to go back to",
                failure=failure,
            ),
        )
    second = _restore_and_check(attempt)
    if second is not None:
        reason = f"going back failed too, in {second.stage}: {second.message}"
        return Outcome("degraded", reason=reason, failure=failure, revision_to_hold=hold)
    return Outcome("rolled_back", reason=failure.message, failure=failure, revision_to_hold=hold)


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
        context = attempt.step_context(config, revision, release, site.layout.live_directory())
        pipeline = config.pipeline
        hook_failure = _run_on_rollback(journal, pipeline.on_rollback, context)
        run_commands(journal, "rollback restart", pipeline.restart, context)
        if checked:
            check_health(journal, "rollback healthcheck", pipeline.healthcheck, context)
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
        # deployctl's own rollback began because the previous release failed its health check:
        # the check would only fail again.
        second = _restore_and_check(attempt, checked=not attempt.deployment.is_own_rollback)
        return outcome if second is None else _degraded_outcome(attempt, outcome, second.message)
    error = _restore_layout(attempt)
    if error is not None:
        return _degraded_outcome(attempt, outcome, in_words(error))
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


def _degraded_outcome(attempt: Attempt, outcome: Outcome, why: str) -> Outcome:
    """Return the outcome ``degraded``, with the reason of ``outcome`` and why undoing failed.

    The revision that the attempt was building is held, so that it is not deployed automatically.
    """
    reason = f"{outcome.reason or outcome.status}; going back failed: {why}"
    hold = attempt.target.revision if attempt.target else None
    return replace(outcome, status="degraded", reason=reason, revision_to_hold=hold)
