"""Run the steps of a stage: one command, with retries, or several commands in parallel."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import select
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass, replace

from deployctl.deploy.journal import StageFailed, StageJournal, StepJournal
from deployctl.deploy.limits import NO_LIMITS, Limits
from deployctl.system.command import Command
from deployctl.system.find_program import missing_program, missing_program_advice
from deployctl.system.leftovers import parallel_note_path
from deployctl.system.process import StepContext, StepOutcome, command_text, run_step
from deployctl.system.process_child import LONGEST_WAIT, held_signals

NOT_FOUND = 127  # the exit code of a shell that does not find a program
_FIRST_PAUSE = 1.0  # seconds before the second try; doubled before each later one
_LONGEST_PAUSE = 30.0  # seconds


@dataclass(frozen=True)
class StageContext(StepContext):
    """The context of each step of a stage, with the ``limits`` on its use of the machine.

    Steps that run in parallel have a ``note_path`` file each.
    """

    limits: Limits = NO_LIMITS


def run_once(
    step: StepJournal, command: Command, context: StageContext, stop: int | None = None
) -> StepOutcome:
    """Run one command, log it, and return its outcome, with a hint if it failed.

    ``stop`` is a file descriptor: the command is ended when it can be read
    (``system.process.run_step``).
    """
    step.begin_step(command_text(command))
    outcome = run_step(context.limits.wrap(command), context, write=step.output, stop=stop)
    outcome = step.end_step(command_text(command), outcome)
    return replace(outcome, hint=_hint(command, outcome, context))


def _hint(command: Command, outcome: StepOutcome, context: StageContext) -> str:
    """Return advice for the person who reads why a step failed, or an empty string."""
    if outcome.timed_out or outcome.stopped:
        return ""
    if outcome.exit_code != NOT_FOUND:
        return context.limits.hint(outcome)
    program = missing_program(command, outcome.tail)
    return (
        (missing_program_advice(program, context.env, context.directory) or "") if program else ""
    )


def run_with_retries(
    step: StepJournal,
    command: Command,
    context: StageContext,
    retries: int,
    stop: int | None = None,
) -> StepOutcome:
    """Run a command until it succeeds; return the outcome of the last try.

    It runs at most 1 + ``retries`` times. It is not tried again once ``stop`` can be read.
    """
    pause = _FIRST_PAUSE
    outcome = run_once(step, command, context, stop)
    for attempt in range(2, retries + 2):
        if outcome.ok or outcome.stopped:
            break
        again = f"trying again in {pause:g}s ({attempt} of {retries + 1})"
        step.line(f"{outcome.describe()}; {again}")
        if select.select([] if stop is None else [stop], [], [], pause)[0]:
            break
        pause = min(pause * 2, _LONGEST_PAUSE)
        outcome = run_once(step, command, context, stop)
    return outcome


def require_success(
    stage: StageJournal, position: int, command: Command, outcome: StepOutcome
) -> None:
    """Raise StageFailed if the outcome of a step is no success.

    ``position`` is the place of the step in its stage, counted from 1.
    """
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
    """Run all commands at the same time; raises StageFailed when one fails, and ends the others.

    Each command is tried at most 1 + ``retries`` times. Their output is logged as it comes; each
    line begins with the position of its step, such as ``[2] ``.
    """
    steps = [stage.parallel_step(position) for position in range(1, len(commands) + 1)]
    contexts = [
        replace(context, note_path=parallel_note_path(str(context.note_path), position))
        for position, _ in enumerate(steps, 1)
    ]
    with contextlib.ExitStack() as stack:
        # Left in this order: the steps are told to stop, their threads end, descriptors close.
        stop = os.eventfd(0, os.EFD_CLOEXEC)
        stack.callback(os.close, stop)
        ended = _Ended()
        stack.callback(ended.close)
        pool = stack.enter_context(futures.ThreadPoolExecutor(len(commands)))
        stack.callback(os.eventfd_write, stop, 1)
        # A signal that interrupted the start of a thread would leave it unknown to the pool.
        with held_signals() as deliver:
            running = [
                pool.submit(run_with_retries, step, command, step_context, retries, stop)
                for step, command, step_context in zip(steps, commands, contexts, strict=True)
            ]
            for position, future in enumerate(running):
                future.add_done_callback(functools.partial(ended.add, position))
            deliver()
            failed = _first_failed(running, ended)
    if failed is not None:
        require_success(stage, failed + 1, commands[failed], running[failed].result())


def _first_failed(running: Sequence[futures.Future[StepOutcome]], ended: _Ended) -> int | None:
    """Wait for the steps; return the index of the first that fails, None if all succeed."""
    for _ in running:
        position = ended.next()
        if not running[position].result().ok:
            return position
    return None


class _Ended:
    """The positions of the steps that have ended, in this order.

    The functions of concurrent.futures that wait use locks written in Python. A signal whose
    handler raises an exception just after one of these was taken would leave it locked for ever,
    and the thread of the step would never end. Here the main thread waits in one system call.
    """

    def __init__(self) -> None:
        self._positions: collections.deque[int] = collections.deque()
        self._count = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)

    def add(self, position: int, _: object) -> None:
        """Add a position; the thread of the step calls this."""
        self._positions.append(position)
        os.eventfd_write(self._count, 1)

    def next(self) -> int:
        """Wait for the next step that ends, and return its position."""
        # A signal that arrives just before a system call does not interrupt it.
        while not select.select([self._count], [], [], LONGEST_WAIT)[0]:
            pass
        os.eventfd_read(self._count)
        return self._positions.popleft()

    def close(self) -> None:
        os.close(self._count)
