"""Check the health of what is live: try until it is healthy, or until the deadline has passed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from deployctl.health.url import Answer, ask_url
from deployctl.system.command import Command
from deployctl.system.process import StepOutcome
from deployctl.values.repo import HealthCheck
from deployctl.values.times import duration

_SHORTEST_TRY = 1.0  # seconds that a try must have
_STABLE = 5.0  # seconds; the default of ``stable_for`` after a restart
_DECISIVE = 2  # definite wrong answers in a row


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
    restarted: bool,
    run_command: Callable[[Command, float], StepOutcome],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> HealthResult:
    """Try every ``interval`` seconds until the tries have succeeded for ``stable_for`` seconds.

    A ``stable_for`` above 0 needs at least two successful tries in a row, because the time counts
    from the end of the first. No try outlasts the ``deadline``, and none but the first begins in
    the last second before it. If the deadline has cut the last try short, the result is that of the
    try before it.

    ``restarted`` tells whether something was restarted before, which may take its time. If nothing
    was, two definite wrong answers in a row decide. ``run_command`` takes a command and a timeout
    in seconds, and runs the command in the live directory.
    """
    stable_for = stable_time(healthcheck, restarted=restarted)
    started = clock()
    course = _Course(started)
    limit = min(healthcheck.timeout, healthcheck.deadline or healthcheck.timeout)
    while True:
        answer = _try_once(replace(healthcheck, timeout=limit), run_command)
        course.add(answer, clock(), was_cut_short=answer.timed_out and limit < healthcheck.timeout)
        tries = course.tries
        healthy = tries.good_for is not None and tries.good_for >= stable_for
        left = healthcheck.deadline - _SHORTEST_TRY - tries.seconds
        if healthy or left <= 0 or (course.wrong == _DECISIVE and not restarted):
            return _result(healthcheck, course.told, None if healthy else stable_for, tries)
        sleep(min(healthcheck.interval, left))
        left = started + healthcheck.deadline - clock()
        limit = min(healthcheck.timeout, math.floor(left * 10) / 10)


class _Course:
    """The tries so far; ``told`` is the answer to tell, ``wrong`` counts the definite wrong ones.

    Only those at the end, in a row, are counted.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._good_since: float | None = None
        self.told = Answer(False, "")
        self.tries = _Tries(0, 0, 0.0, None)
        self.wrong = 0

    def add(self, answer: Answer, now: float, *, was_cut_short: bool) -> None:
        if not was_cut_short or not self.tries.count:
            self.told = answer
        self.wrong = self.wrong + 1 if answer.is_definite else 0
        since = now if self._good_since is None else self._good_since
        self._good_since = since if answer.ok else None
        self.tries = _Tries(
            count=self.tries.count + 1,
            good=self.tries.good + answer.ok,
            seconds=now - self._started,
            good_for=now - since if answer.ok else None,
        )


def stable_time(healthcheck: HealthCheck, *, restarted: bool) -> float:
    """Return for how many seconds the tries must succeed.

    The default leaves room for a second try before the deadline.
    """
    if healthcheck.stable_for is not None:
        return healthcheck.stable_for
    return min(_STABLE, max(healthcheck.deadline - _SHORTEST_TRY, 0.0) / 2) if restarted else 0.0


def _result(
    healthcheck: HealthCheck, answer: Answer, missed: float | None, tries: _Tries
) -> HealthResult:
    """Return the result; ``missed`` is the ``stable_for`` that was not reached, None if it was."""
    message, healthy = answer.message, missed is None
    if missed is not None and tries.good_for is not None:
        message += f", {_not_stable_yet(healthcheck, tries.good_for, missed)}"
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


def _not_stable_yet(healthcheck: HealthCheck, good_for: float, stable_for: float) -> str:
    how_long = f"for {duration(good_for)} only" if good_for else "only just now"
    return (
        f"but {how_long} and not for the {stable_for:g}s of stable_for:"
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
    message = f"the command {result}"
    return Answer(outcome.ok, message, outcome.tail, outcome, timed_out=outcome.timed_out)
