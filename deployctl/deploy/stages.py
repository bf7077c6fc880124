"""Stages in order; the first failure ends the pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from deployctl.deploy.journal import Journal, StageFailed
from deployctl.deploy.steps import (
    StageContext,
    need_success,
    run_one,
    run_parallel,
    run_with_retries,
)
from deployctl.git.patterns import any_watched
from deployctl.health import evidence
from deployctl.health.check import check
from deployctl.system.command import Command
from deployctl.system.process import Outcome, command_text
from deployctl.values.repo import HealthCheck, Stage

# Parts of a step's marker. What a restart leaves behind is there on purpose; what a stage or a
# health check does is not.
BUILD, RESTART = "build", "restart"


@dataclass(frozen=True)
class WhenFacts:
    """What a stage's ``when`` is compared with; what is not known keeps no stage from running.

    ``changed`` are the paths that differ from what is live; None where that cannot be told, as is
    ``ref`` of a release that deployctl did not build.
    """

    ref: str | None
    task: str
    changed: Callable[[], Sequence[str] | None]


def describe(what: Command | HealthCheck) -> str:
    """A command or health check in one line, for a plan."""
    if isinstance(what, HealthCheck):
        return f"GET {what.url}" if what.url else describe(what.command or "")
    return command_text(what).strip().replace("\n", "; ")


def run_stages(
    journal: Journal, stages: Sequence[Stage], context: StageContext, occasion: WhenFacts
) -> list[str]:
    """Run the stages one after the other -> the names of those that were allowed to fail and did.

    Raises StageFailed at the first other one that fails.
    """
    failed = []
    for stage in stages:
        why = why_skipped(stage, occasion)
        if why is not None:
            journal.skip(stage.name, why)
            continue
        try:
            _run_stage(journal, stage, context)
        except StageFailed:
            if not stage.allow_failure:
                raise
            journal.line(f"{stage.name} may fail (allow_failure): going on")
            failed.append(stage.name)
    return failed


def why_skipped(stage: Stage, occasion: WhenFacts) -> str | None:
    """Why the stage's ``when`` keeps it from running now; None where it runs."""
    when = stage.when
    if when is None:
        return None
    if when.task and occasion.task not in when.task:
        return f"this is a {occasion.task}"
    name = (occasion.ref or "").removeprefix("refs/heads/").removeprefix("refs/tags/")
    if when.branch and name and not any(fnmatchcase(name, pattern) for pattern in when.branch):
        return f"{name} is not {' or '.join(when.branch)}"
    changed = occasion.changed() if when.paths else None
    if changed is not None and not any_watched(when.paths, changed):
        return f"nothing in {', '.join(when.paths)} changed"
    return None


def _run_stage(journal: Journal, stage: Stage, context: StageContext) -> None:
    here = replace(
        context,
        directory=os.path.normpath(os.path.join(context.directory, stage.dir)),
        env={**context.env, **stage.env},
        timeout=stage.timeout or context.timeout,
        marker=f"{context.marker}/{BUILD}",
    )
    with journal.stage(stage.name) as stage_journal:
        if stage.parallel:
            run_parallel(stage_journal, stage.steps, here, stage.retry)
        else:
            for position, command in enumerate(stage.steps, start=1):
                outcome = run_with_retries(stage_journal.step, command, here, stage.retry)
                need_success(stage_journal, position, command, outcome)


def run_commands(
    journal: Journal, name: str, commands: Sequence[Command], context: StageContext
) -> None:
    """Run commands that serve what is live as a stage; none configured, none shown."""
    if commands:
        here = replace(context, marker=f"{context.marker}/{RESTART}")
        with journal.stage(name) as stage_journal:
            for position, command in enumerate(commands, start=1):
                need_success(
                    stage_journal, position, command, run_one(stage_journal.step, command, here)
                )


def check_health(
    journal: Journal, name: str, healthcheck: HealthCheck | None, context: StageContext
) -> None:
    """Ask until healthy; raises StageFailed, with the evidence, when it is not in time."""
    if healthcheck is None:
        return
    context = replace(context, marker=f"{context.marker}/{BUILD}")
    with journal.stage(name, evidence.last_lines) as stage_journal:

        def run_command(command: Command, timeout: float) -> Outcome:
            return run_one(stage_journal.step, command, replace(context, timeout=timeout))

        result = check(healthcheck, run_command=run_command)
        if not result.ok:
            failure = stage_journal.failure(
                result.message,
                command=command_text(result.command) if result.command else None,
                tail=evidence.explain(
                    healthcheck,
                    result,
                    directory=context.directory,
                    run_command=run_command,
                    mask=journal.masked,
                    tell=stage_journal.line,
                ),
            )
            raise StageFailed(
                replace(
                    failure,
                    exit_code=result.exit_code,
                    signal=result.signal,
                    timed_out=result.timed_out,
                )
            )
        stage_journal.line(result.message)
