"""Is what is live well? Ask until it is or the time is up, then once more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from deployctl.health.url import Answer, ask_url
from deployctl.system.command import Command
from deployctl.system.process import Outcome
from deployctl.values.repo import HealthCheck
from deployctl.values.times import duration


@dataclass(frozen=True)
class HealthResult:
    """The verdict over ``attempts`` tries, and what the last one brought.

    ``tail`` is the end of a command's output, as :class:`Outcome` has it, or the beginning of an
    answer's body. The fields after it are None or False unless a command was asked.
    """

    ok: bool
    message: str
    attempts: int
    tail: str = ""
    exit_code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    command: Command | None = None


@dataclass(frozen=True)
class _Tries:
    """How many there were, how many good, and in how many seconds.

    ``well_for`` is how long the answers have been good at the end; None where the last is not.
    """

    count: int
    good: int
    seconds: float
    well_for: float | None


def check(
    healthcheck: HealthCheck,
    *,
    run_command: Callable[[Command, float], Outcome],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> HealthResult:
    """Ask every ``interval`` seconds until the answers stay good for ``stable_for`` seconds.

    One good answer lasts for no time, so ``stable_for`` takes at least two in a row. The last try
    starts at the ``deadline`` at the latest, so it ends one ``timeout`` after that at the latest.
    ``run_command`` runs a command in the live directory for so many seconds.
    """
    begun = clock()
    good_since: float | None = None
    count = good = 0
    while True:
        answer = _ask(healthcheck, run_command)
        now = clock()
        count += 1
        good += answer.ok
        good_since = (now if good_since is None else good_since) if answer.ok else None
        well_for = None if good_since is None else now - good_since
        well = well_for is not None and well_for >= healthcheck.stable_for
        left = begun + healthcheck.deadline - now
        if well or left <= 0:
            return _result(healthcheck, answer, well, _Tries(count, good, now - begun, well_for))
        sleep(min(healthcheck.interval, left))


def _result(healthcheck: HealthCheck, answer: Answer, well: bool, tries: _Tries) -> HealthResult:
    message = answer.message
    if not well and tries.well_for is not None:
        message += f", {_too_short(healthcheck, tries.well_for)}"
    outcome = answer.outcome
    return HealthResult(
        ok=well,
        message=f"{message} ({_count(tries, well)})",
        attempts=tries.count,
        tail=answer.tail,
        exit_code=outcome.exit_code if outcome else None,
        signal=outcome.signal if outcome else None,
        timed_out=outcome.timed_out if outcome else False,
        command=healthcheck.command,
    )


def _too_short(healthcheck: HealthCheck, well_for: float) -> str:
    been = f"for {duration(well_for)} only" if well_for else "only just now"
    return (
        f"but {been} and not for the {healthcheck.stable_for:g}s of stable_for:"
        f" if it starts slowly, raise its deadline of {healthcheck.deadline:g}s"
    )


def _count(tries: _Tries, well: bool) -> str:
    """``3 tries in 12s``; what is well at times and then not again is told from what never was."""
    count = "1 try" if tries.count == 1 else f"{tries.count} tries"
    good = f", {tries.good} of them good" if not well and 0 < tries.good < tries.count else ""
    return f"{count} in {duration(tries.seconds)}{good}"


def _ask(healthcheck: HealthCheck, run_command: Callable[[Command, float], Outcome]) -> Answer:
    if healthcheck.command is not None:
        return _ask_command(run_command(healthcheck.command, healthcheck.timeout))
    return ask_url(healthcheck, str(healthcheck.url))


def _ask_command(outcome: Outcome) -> Answer:
    how = "succeeded" if outcome.ok else f"failed: {outcome.describe()}"
    return Answer(outcome.ok, f"the command {how}", outcome.tail, outcome)
