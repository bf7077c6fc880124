"""Run the stages of a pipeline, the commands around the switch, and the health check."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from deployctl.deploy.journal import Journal, StageFailed, StageJournal
from deployctl.deploy.steps import (
    StageContext,
    require_success,
    run_once,
    run_parallel,
    run_with_retries,
)
from deployctl.git.patterns import any_watched
from deployctl.health import evidence
from deployctl.health.check import HealthResult, check
from deployctl.health.expand import expand
from deployctl.system.command import Command
from deployctl.system.process import StepOutcome, command_text
from deployctl.values.deployment import Failure
from deployctl.values.repo import HealthCheck, Stage

# Parts of a step's marker. Processes that a restart leaves behind, such as a daemon, are there on
# purpose; processes that a stage or a health check leaves behind may be ended.
BUILD, RESTART = "build", "restart"


@dataclass(frozen=True)
class WhenFacts:
    """The facts that ``when`` of a stage is compared with.

    An unknown fact (None) never keeps a stage from running. ``ref`` is the full name of the ref,
    None for a release that deployctl did not build. ``task`` is deploy or rollback. ``changed``
    returns the paths that differ from the live revision, or None if they are not known.
    """

    ref: str | None
    task: str
    changed: Callable[[], Sequence[str] | None]


def describe(action: Command | HealthCheck) -> str:
    """Return a command or health check as one line, for a plan."""
    if isinstance(action, HealthCheck):
        return f"GET {action.url}" if action.url else describe(action.command or "")
    return command_text(action).strip().replace("\n", "; ")


def run_stages(
    journal: Journal, stages: Sequence[Stage], context: StageContext, facts: WhenFacts
) -> list[str]:
    """Run the stages one after the other.

    Return the names of the stages that failed and have ``allow_failure``. Raises StageFailed when
    another stage fails; the stages after it do not run.
    """
    failed = []
    for stage in stages:
        reason = _skip_reason(stage, facts)
        if reason is not None:
            journal.skip(stage.name, reason)
            continue
        try:
            _run_stage(journal, stage, context)
        except StageFailed:
            if not stage.allow_failure:
                raise
            journal.line(f"{stage.name} may fail (allow_failure): going on")
            failed.append(stage.name)
    return failed


def _skip_reason(stage: Stage, facts: WhenFacts) -> str | None:
    """Return why ``when`` of the stage keeps it from running, or None if it runs."""
    when = stage.when
    if when is None:
        return None
    if when.task and facts.task not in when.task:
        return f"this is a {facts.task}"
    name = (facts.ref or "").removeprefix("refs/heads/").removeprefix("refs/tags/")
    if when.branch and name and not any(fnmatchcase(name, pattern) for pattern in when.branch):
        return f"{name} is not {' or '.join(when.branch)}"
    changed = facts.changed() if when.paths else None
    if changed is not None and not any_watched(when.paths, changed):
        return f"nothing in {', '.join(when.paths)} changed"
    return None


def _run_stage(journal: Journal, stage: Stage, context: StageContext) -> None:
    stage_context = replace(
        context,
        directory=os.path.normpath(os.path.join(context.directory, stage.dir)),
        env={**context.env, **stage.env},
        timeout=stage.timeout or context.timeout,
        marker=f"{context.marker}/{BUILD}",
    )
    with journal.stage(stage.name) as stage_journal:
        if stage.parallel:
            run_parallel(stage_journal, stage.steps, stage_context, stage.retry)
        else:
            for position, command in enumerate(stage.steps, start=1):
                outcome = run_with_retries(stage_journal.step, command, stage_context, stage.retry)
                require_success(stage_journal, position, command, outcome)


def run_commands(
    journal: Journal,
    name: str,
    commands: Sequence[Command],
    context: StageContext,
    healthcheck: HealthCheck | None = None,
) -> None:
    """Run the commands of ``restart``, ``on_rollback`` or ``post`` as a stage called ``name``.

    Raises StageFailed at the first command that fails, with the evidence of ``healthcheck``.
    Without commands there is no such stage. Processes that the commands leave behind are not ended
    by recovery.
    """
    if commands:
        stage_context = replace(context, marker=f"{context.marker}/{RESTART}")
        with journal.stage(name) as stage_journal:
            for position, command in enumerate(commands, start=1):
                outcome = run_once(stage_journal.step, command, stage_context)
                if healthcheck is not None and not outcome.ok:
                    tail = _evidence(
                        journal, stage_journal, healthcheck, context, outcome.tail, evidence.RESTART
                    )
                    outcome = replace(outcome, tail=tail)
                require_success(stage_journal, position, command, outcome)


def _runner(
    stage_journal: StageJournal, context: StageContext
) -> Callable[[Command, float], StepOutcome]:
    """Return a function that runs a command with a timeout in seconds, as a step of the stage."""
    return lambda command, timeout: run_once(
        stage_journal.step, command, replace(context, timeout=timeout)
    )


def _evidence(
    journal: Journal,
    stage_journal: StageJournal,
    healthcheck: HealthCheck,
    context: StageContext,
    output: str,
    heading: str,
) -> str:
    """Return the tail of a failure: the output of what failed, then the evidence."""
    return evidence.collect_evidence(
        healthcheck,
        output,
        heading=heading,
        directory=context.directory,
        run_command=_runner(stage_journal, context),
        mask=journal.masked,
        tell=stage_journal.line,
    )


def check_health(
    journal: Journal,
    name: str,
    healthcheck: HealthCheck | None,
    context: StageContext,
    *,
    restarted: bool,
) -> None:
    """Check the health of what is live, as a stage called ``name``; do nothing without a check.

    ``restarted`` is that of :func:`~deployctl.health.check.check`. Raises StageFailed if it is not
    healthy within ``deadline`` seconds. The failure has the exit code or signal of the last try,
    and in ``tail`` the evidence (see health/evidence.py).
    """
    if healthcheck is None:
        return
    context = replace(context, marker=f"{context.marker}/{BUILD}")
    healthcheck = expand(healthcheck, context.env)
    with journal.stage(name, evidence.last_lines) as stage_journal:
        run_command = _runner(stage_journal, context)
        result = check(healthcheck, restarted=restarted, run_command=run_command)
        if not result.ok:
            heading = evidence.check_heading(healthcheck)
            tail = _evidence(journal, stage_journal, healthcheck, context, result.tail, heading)
            raise StageFailed(_health_failure(stage_journal, result, tail))
        stage_journal.line(result.message)


def _health_failure(stage_journal: StageJournal, result: HealthResult, tail: str) -> Failure:
    """Return the failure of a health check; exit code or signal are those of its last try."""
    command = command_text(result.command) if result.command else None
    return replace(
        stage_journal.failure(result.message, command=command, tail=tail),
        exit_code=result.exit_code,
        signal=result.signal,
        timed_out=result.timed_out,
    )
