"""The steps of a stage: one after the other or at the same time, tried again where wanted."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, replace

from deployctl.deploy.journal import StageFailed, StageJournal, StepJournal
from deployctl.deploy.limits import NONE, Limits
from deployctl.system.command import Command
from deployctl.system.find_program import advice, missing_program
from deployctl.system.process import Outcome, StepContext, command_text, run_step

NOT_FOUND = 127  # the exit code of a shell that does not find a program
_FIRST_PAUSE = 1.0  # seconds before a second try; doubled for each one after that
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class StageContext(StepContext):
    """What every step of a stage gets, and the ``limits`` of what it may take of the machine.

    Steps that run beside each other have a ``noted`` file each.
    """

    limits: Limits = NONE


def run_one(
    step: StepJournal, command: Command, context: StageContext, stop: int | None = None
) -> Outcome:
    """Run one command and report it; ``stop`` is that of ``system.process.run_step``."""
    step.begin_step(command_text(command))
    outcome = run_step(context.limits.wrap(command), context, write=step.output, stop=stop)
    outcome = step.end_step(command_text(command), outcome)
    return replace(outcome, hint=_hint(command, outcome, context))


def _hint(command: Command, outcome: Outcome, context: StageContext) -> str:
    """What may help whoever reads how a step ended; empty where nothing is known."""
    if outcome.timed_out or outcome.stopped:
        return ""
    if outcome.exit_code != NOT_FOUND:
        return context.limits.hint(outcome)
    program = missing_program(command, outcome.tail)
    return (advice(program, context.env, context.directory) or "") if program else ""


def run_with_retries(
    step: StepJournal,
    command: Command,
    context: StageContext,
    retries: int,
    stop: int | None = None,
) -> Outcome:
    """Run it until it succeeds, at most so many times more -> how it ended the last time."""
    pause = _FIRST_PAUSE
    outcome = run_one(step, command, context, stop)
    for attempt in range(2, retries + 2):
        if outcome.ok or outcome.stopped:
            break
        again = f"trying again in {pause:g}s ({attempt} of {retries + 1})"
        step.line(f"{outcome.describe()}; {again}")
        if select.select([] if stop is None else [stop], [], [], pause)[0]:
            break
        pause = min(pause * 2, _LONGEST_PAUSE)
        outcome = run_one(step, command, context, stop)
    return outcome


def need_success(stage: StageJournal, position: int, command: Command, outcome: Outcome) -> None:
    """Raise StageFailed where the step, counted from 1, did not succeed."""
    if outcome.ok:
        return
    message = f"step {position} failed: {outcome.describe()}"
    failure = stage.failure(message, command=command_text(command), tail=outcome.tail)
    raise StageFailed(
        replace(
            failure,
            step=position,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            timed_out=outcome.timed_out,
        )
    )


def run_parallel(
    stage: StageJournal, commands: Sequence[Command], context: StageContext, retries: int
) -> None:
    """Run all of them at the same time; the first that fails ends the others.

    Their lines come as they are printed, each with the number of its step in front.
    """
    steps = [stage.parallel_step(position) for position in range(1, len(commands) + 1)]
    places = [
        replace(context, noted=f"{context.noted}.{position}") for position, _ in enumerate(steps, 1)
    ]
    with _stop() as stop, futures.ThreadPoolExecutor(len(commands)) as pool:
        running = [
            pool.submit(run_with_retries, step, command, here, retries, stop)
            for step, command, here in zip(steps, commands, places, strict=True)
        ]
        try:
            failed = _first_failed(running)
        finally:
            os.eventfd_write(stop, 1)
            futures.wait(running)
    if failed is not None:
        need_success(stage, failed + 1, commands[failed], running[failed].result())


@contextlib.contextmanager
def _stop() -> Iterator[int]:
    """A file descriptor that can be read once it is written to: whoever polls it ends."""
    descriptor = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _first_failed(running: Sequence[futures.Future[Outcome]]) -> int | None:
    """The place of the first step that ends badly; None once all have ended well."""
    for ended in futures.as_completed(running):
        if not ended.result().ok:
            return running.index(ended)
    return None
