"""The way back: what was live before is live again, restarted and checked, or it is said loudly."""

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

_TRIES = 2


def go_back(attempt: Attempt, target: Target, failure: Failure) -> Outcome:
    """What was live before is live again, restarted and checked: or it is said that it is not."""
    held = _left(attempt, target)
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
    second = _bring_back(attempt)
    if second is not None:
        reason = f"going back failed too, in {second.stage}: {second.message}"
        return Outcome("degraded", reason=reason, failure=failure, held=held)
    return Outcome("rolled_back", reason=failure.message, failure=failure, held=held)


def _left(attempt: Attempt, target: Target) -> str | None:
    """The revision to hold; never by a rollback the one that is live again after it."""
    previous = attempt.previous.revision if attempt.previous else None
    is_deployment = attempt.deployment.task == "deploy"
    return target.revision if is_deployment or target.revision != previous else None


def _bring_back(attempt: Attempt, *, checked: bool = True) -> Failure | None:
    """Switch back, restart, check -> what went wrong, if anything did."""
    site, journal, previous = attempt.site, attempt.journal, attempt.previous
    # Before a word of it is written down: a full disk must not keep a broken release live.
    trouble = _restore(attempt) or attempt.trouble
    try:
        with journal.stage("rollback"):
            if trouble is not None:
                raise trouble
            config = attempt.previous_config()
        revision, release = (previous.revision, previous.release) if previous else (None, None)
        context = attempt.step_context(config, revision, release, site.layout.live_directory())
        pipeline = config.pipeline
        trouble_in_hook = _run_hook(journal, pipeline.on_rollback, context)
        run_commands(journal, "rollback restart", pipeline.restart, context)
        if checked:
            check_health(journal, "rollback healthcheck", pipeline.healthcheck, context)
    except StageFailed as failed:
        return failed.failure
    return trouble_in_hook


def _run_hook(
    journal: Journal, commands: Sequence[Command], context: StageContext
) -> Failure | None:
    """What fails in it does not keep what is live again from being restarted."""
    try:
        run_commands(journal, "rollback on_rollback", commands, context)
    except StageFailed as failed:
        return failed.failure
    return None


def undo(attempt: Attempt, outcome: Outcome) -> Outcome:
    """Leave live what was live, and nothing half made behind; where that fails: degraded."""
    if attempt.phase == "claimed":
        return outcome
    if attempt.phase == "switching" and attempt.previous is not None:
        # What deployctl itself went back from is known not to be well.
        second = _bring_back(attempt, checked=not attempt.deployment.is_own_rollback)
        return outcome if second is None else _degraded(attempt, outcome, second.message)
    trouble = _restore(attempt)
    if trouble is not None:
        return _degraded(attempt, outcome, in_words(trouble))
    if attempt.previous is None:
        end_marked(attempt.marker)
    return outcome


def _restore(attempt: Attempt) -> DeployctlError | OSError | None:
    """What was live is live again -> what kept it from that.

    Too much depends on it for one mishap to decide, such as a git that was killed.
    """
    trouble = None
    for _ in range(_TRIES):
        try:
            attempt.site.layout.restore(attempt.previous)
        except (DeployctlError, OSError) as error:
            trouble = error
        else:
            return None
    return trouble


def _degraded(attempt: Attempt, outcome: Outcome, why: str) -> Outcome:
    """Nothing automatic begins it again: what it was going to bring is held."""
    reason = f"{outcome.reason or outcome.status}; going back failed: {why}"
    held = attempt.target.revision if attempt.target else None
    return replace(outcome, status="degraded", reason=reason, held=held)
