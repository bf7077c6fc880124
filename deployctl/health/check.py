"""Check the health of what is live: try until it is healthy, or until the deadline has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from deployctl.health.url import Answer, ask_url
from deployctl.system.command import Command
from deployctl.system.process import StepOutcome
from deployctl.values.repo import HealthCheck
from deployctl.values.times import duration


@dataclass(frozen=True)
class HealthResult:
    """The result of a health check of ``attempts`` tries, with details of the last try.

    ``tail`` is the end of a command's output, as :class:`StepOutcome` has it, or the beginning of
    the body of an HTTP response. The fields after it are None or False unless the check is a
    command.
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
    """The number of tries, how many of them succeeded, and the seconds that all took together.

    ``good_for`` is the number of seconds for which all tries have succeeded at the end; None if
    the last one failed.
    """

    count: int
    good: int
    seconds: float
    good_for: float | None


def check(
    healthcheck: HealthCheck,
    *,
    run_command: Callable[[Command, float], StepOutcome],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> HealthResult:
    """Try every ``interval`` seconds until the tries have succeeded for ``stable_for`` seconds.

    A ``stable_for`` above 0 needs at least two successful tries in a row, because the time counts
    from the end of the first. The last try starts when the ``deadline`` is reached, at the latest,
    and ends at most one ``timeout`` later. ``run_command`` takes a command and a timeout in
    seconds, and runs the command in the live directory.
    """
    started = clock()
    good_since: float | None = None
    count = good = 0
    while True:
        answer = _try_once(healthcheck, run_command)
        now = clock()
        count += 1
        good += answer.ok
        good_since = (now if good_since is None else good_since) if answer.ok else None
        good_for = None if good_since is None else now - good_since
        healthy = good_for is not None and good_for >= healthcheck.stable_for
        remaining = started + healthcheck.deadline - now
        if healthy or remaining <= 0:
            tries = _Tries(count, good, now - started, good_for)
            return _result(healthcheck, answer, healthy, tries)
        sleep(min(healthcheck.interval, remaining))


def _result(healthcheck: HealthCheck, answer: Answer, healthy: bool, tries: _Tries) -> HealthResult:
    message = answer.message
    if not healthy and tries.good_for is not None:
        message += f", {_not_stable_yet(healthcheck, tries.good_for)}"
    outcome = answer.outcome
    return HealthResult(
        ok=healthy,
        message=f"{message} ({_count_of_tries(tries, healthy)})",
        attempts=tries.count,
        tail=answer.tail,
        exit_code=outcome.exit_code if outcome else None,
        signal=outcome.signal if outcome else None,
        timed_out=outcome.timed_out if outcome else False,
        command=healthcheck.command,
    )


def _not_stable_yet(healthcheck: HealthCheck, good_for: float) -> str:
    how_long = f"for {duration(good_for)} only" if good_for else "only just now"
    return (
        f"but {how_long} and not for the {healthcheck.stable_for:g}s of stable_for:"
        f" if it starts slowly, raise its deadline of {healthcheck.deadline:g}s"
    )


def _count_of_tries(tries: _Tries, healthy: bool) -> str:
    """Return text such as ``3 tries in 12s``.

    If the check has failed although some tries succeeded, their number is added.
    """
    count = "1 try" if tries.count == 1 else f"{tries.count} tries"
    good = f", {tries.good} of them good" if not healthy and 0 < tries.good < tries.count else ""
    return f"{count} in {duration(tries.seconds)}{good}"


def _try_once(
    healthcheck: HealthCheck, run_command: Callable[[Command, float], StepOutcome]
) -> Answer:
    if healthcheck.command is not None:
        return _command_answer(run_command(healthcheck.command, healthcheck.timeout))
    return ask_url(healthcheck, str(healthcheck.url))


def _command_answer(outcome: StepOutcome) -> Answer:
    result = "succeeded" if outcome.ok else f"failed: {outcome.describe()}"
    return Answer(outcome.ok, f"the command {result}", outcome.tail, outcome)
