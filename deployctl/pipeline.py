"""Stages and their steps, in order; the first failure ends the pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deployctl.health import check, evidence
from deployctl.journal import Journal, StageFailed, StageJournal
from deployctl.process import LastLines, Outcome, run_step, show
from deployctl.repo import Command, HealthCheck, Stage

# Parts of a step's marker. What a restart leaves behind is there on purpose; what a stage or a
# health check does is not.
BUILD, RESTART = "build", "restart"


@dataclass(frozen=True)
class Surroundings:
    """What every step of a pipeline gets: a directory, an environment, a marker, a time limit.

    ``noted`` is the file that says which step runs now.
    """

    directory: str
    env: Mapping[str, str]
    marker: str
    timeout: float
    noted: str


def describe(what: Command | HealthCheck) -> str:
    """A command or health check in one line, for a plan."""
    if isinstance(what, HealthCheck):
        return f"GET {what.url}" if what.url else describe(what.command or "")
    return show(what).strip().replace("\n", "; ")


def run_stages(journal: Journal, stages: Sequence[Stage], around: Surroundings) -> None:
    """Run the stages one after the other; raises StageFailed at the first that fails."""
    for stage in stages:
        here = replace(
            around,
            directory=os.path.normpath(os.path.join(around.directory, stage.dir)),
            env={**around.env, **stage.env},
            timeout=stage.timeout or around.timeout,
            marker=f"{around.marker}/{BUILD}",
        )
        with journal.stage(stage.name) as telling:
            _run_steps(telling, stage.steps, here)


def restart(journal: Journal, name: str, commands: Sequence[Command], around: Surroundings) -> None:
    """Run the restart commands as a stage; none configured, none shown."""
    if commands:
        with journal.stage(name) as telling:
            _run_steps(telling, commands, replace(around, marker=f"{around.marker}/{RESTART}"))


def check_health(
    journal: Journal, name: str, healthcheck: HealthCheck | None, around: Surroundings
) -> None:
    """Ask until healthy; raises StageFailed, with the evidence, when it is not in time."""
    if healthcheck is None:
        return
    around = replace(around, marker=f"{around.marker}/{BUILD}")
    with journal.stage(name) as telling:

        def run_command(command: Command, timeout: float) -> Outcome:
            here = replace(around, timeout=timeout)
            return _run_step(telling, command, here, evidence.last_lines())

        result = check(healthcheck, run_command=run_command)
        if not result.ok:
            failure = telling.failure(
                result.message,
                command=show(result.command) if result.command else None,
                tail=evidence.explain(
                    healthcheck,
                    result,
                    directory=around.directory,
                    run_command=run_command,
                    mask=journal.masked,
                    tell=telling.line,
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
        telling.line(result.message)


def _run_steps(telling: StageJournal, steps: Sequence[Command], around: Surroundings) -> None:
    for position, command in enumerate(steps, start=1):
        outcome = _run_step(telling, command, around)
        if not outcome.ok:
            raise StageFailed(
                replace(
                    telling.failure(
                        f"step {position} failed: {outcome.describe()}",
                        command=show(command),
                        tail=outcome.tail,
                    ),
                    step=position,
                    exit_code=outcome.exit_code,
                    signal=outcome.signal,
                    timed_out=outcome.timed_out,
                )
            )


def _run_step(
    telling: StageJournal, command: Command, around: Surroundings, last: LastLines | None = None
) -> Outcome:
    telling.begin_step(show(command), last)
    outcome = run_step(
        command,
        cwd=around.directory,
        env=around.env,
        timeout=around.timeout,
        marker=around.marker,
        write=telling.output,
        noted=around.noted,
    )
    return telling.end_step(show(command), outcome)
