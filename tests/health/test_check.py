"""The number of tries of a health check, its deadline, and when they decide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from deployctl.health.check import HealthResult, check, stable_time
from deployctl.system.command import Command
from deployctl.system.process import StepContext, StepOutcome, run_step
from deployctl.values.repo import HealthCheck
from tests.support.health import Page, check_url, message_of, serve


class Clock:
    """A fake clock, which only sleeping and slow tries advance."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def check_command(
    exit_codes: Sequence[int | None],
    healthcheck: HealthCheck,
    takes: float = 0.0,
    *,
    restarted: bool = False,
) -> tuple[HealthResult, Clock]:
    """Check with a fake command that ends with these exit codes, after ``takes`` seconds each.

    The last exit code is that of all further tries too. None: the command timed out.
    """
    clock = Clock()
    remaining = list(exit_codes)

    def run_command(command: Command, timeout: float) -> StepOutcome:
        clock.now += min(takes, timeout)
        code = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return StepOutcome(
            code,
            timed_out=code is None,
            tail=f"at {clock.now:g}",
            detail=f"{timeout:g}s" if code is None else "",
        )

    result = check(
        healthcheck,
        restarted=restarted,
        run_command=run_command,
        sleep=clock.sleep,
        clock=clock,
    )
    return result, clock


PROBE = HealthCheck(command=("probe",), timeout=5.0, interval=4.0, deadline=10.0)


def test_tries_end_when_one_is_healthy() -> None:
    result, clock = check_command([1, None, 0], PROBE)
    assert result == HealthResult(
        True, "the command succeeded (3 tries in 8.0s)", 3, "at 1008", 0, command=("probe",)
    )
    assert clock.pauses == [4.0, 4.0]


def test_one_last_try_is_made_a_second_before_the_deadline() -> None:
    result, clock = check_command([1, 1, 1, 0], PROBE)
    assert (result.ok, result.attempts) == (True, 4)
    assert clock.pauses == [4.0, 4.0, 1.0]


def test_tries_end_at_the_deadline() -> None:
    result, clock = check_command([7], PROBE)
    assert (result.ok, result.attempts, result.exit_code, result.tail) == (False, 4, 7, "at 1009")
    assert result.message == "the command failed: exit code 7 (4 tries in 9.0s)"
    assert clock.now == 1009.0


def test_no_try_outlasts_the_deadline_and_one_that_it_cut_short_is_not_told() -> None:
    result, clock = check_command([None], PROBE, takes=5.0)
    assert (result.attempts, result.timed_out) == (2, True)
    assert result.message == "the command failed: timed out after 5s (2 tries in 10s)"
    assert clock.now == 1000 + PROBE.deadline
    result, clock = check_command([None], replace(PROBE, deadline=3.0), takes=5.0)
    assert result.message == "the command failed: timed out after 3s (1 try in 3.0s)"


@pytest.mark.parametrize(
    ("healthcheck", "restarted", "seconds"),
    [
        (PROBE, False, 0.0),
        (replace(PROBE, deadline=30.0), True, 5.0),
        (PROBE, True, 4.5),
        (replace(PROBE, deadline=1.0), True, 0.0),
        (replace(PROBE, stable_for=0.0), True, 0.0),
        (replace(PROBE, stable_for=2.0), False, 2.0),
    ],
)
def test_what_was_restarted_must_stay_well_for_five_seconds(
    healthcheck: HealthCheck, restarted: bool, seconds: float
) -> None:
    """If the deadline is too short for that, half of the time that it leaves must be enough."""
    assert stable_time(healthcheck, restarted=restarted) == seconds
    result, clock = check_command([0], replace(healthcheck, interval=0.5), restarted=restarted)
    assert (result.ok, clock.now - 1000) == (True, seconds)


def test_a_program_that_dies_after_three_seconds_is_not_healthy() -> None:
    result, _ = check_command([0, 0, 0, 0, 1], replace(PROBE, interval=1.0), restarted=True)
    assert not result.ok


def test_exit_codes_of_a_command_are_never_definite() -> None:
    result, _ = check_command([1, 1, 1, 0], PROBE)
    assert result.ok


def test_tries_must_succeed_for_the_time_of_stable_for() -> None:
    result, clock = check_command([1, 0, 0, 0], replace(PROBE, interval=1.0, stable_for=2.0))
    assert (result.ok, result.attempts, clock.now) == (True, 4, 1003.0)


def test_a_failed_try_restarts_the_time_of_stable_for() -> None:
    healthcheck = replace(PROBE, interval=1.0, stable_for=2.0)
    result, clock = check_command([0, 0, 1, 0, 0, 0], healthcheck)
    assert (result.ok, result.attempts, clock.now) == (True, 6, 1005.0)


def test_one_successful_try_is_not_enough_if_stable_for_is_less_than_the_interval() -> None:
    result, clock = check_command([0], replace(PROBE, stable_for=0.5), takes=1.0)
    assert (result.ok, result.attempts, clock.pauses) == (True, 2, [4.0])
    result, _ = check_command([0, 1], replace(PROBE, stable_for=0.5))
    assert not result.ok


@pytest.mark.parametrize(
    ("exit_codes", "message"),
    [
        (
            [1, 1, 0],
            (
                "the command succeeded, but for 1.0s only and not for the 5s of stable_for:"
                " if it starts slowly, raise its deadline of 10s (4 tries in 9.0s, 2 of them good)"
            ),
        ),
        (
            [0, 1, 1, 0],
            (
                "the command succeeded, but only just now and not for the 5s of stable_for:"
                " if it starts slowly, raise its deadline of 10s (4 tries in 9.0s, 2 of them good)"
            ),
        ),
        ([0, 1], "the command failed: exit code 1 (4 tries in 9.0s, 1 of them good)"),
    ],
)
def test_a_check_that_was_healthy_for_too_short_a_time_fails_with_advice(
    exit_codes: list[int | None], message: str
) -> None:
    result, _ = check_command(exit_codes, replace(PROBE, stable_for=5.0))
    assert (result.ok, result.message) == (False, message)


@pytest.mark.parametrize(
    ("status", "body", "contains", "restarted", "attempts"),
    [
        (500, b"", None, False, 2),
        (404, b"", None, False, 2),
        (200, b"old", "new", False, 2),
        (500, b"", None, True, 4),
        (503, b"", None, False, 4),
        (429, b"", None, False, 4),
    ],
)
def test_two_definite_wrong_answers_decide_where_nothing_was_restarted(
    status: int, body: bytes, contains: str | None, restarted: bool, attempts: int
) -> None:
    wrong = (status, body)
    with serve(Page(wrong, wrong, wrong, (200, b"new"))) as url:
        healthcheck = HealthCheck(
            url=url, contains=contains, interval=0.05, deadline=10.0, stable_for=0.0
        )
        result = check_url(healthcheck, restarted=restarted)
    assert (result.ok, result.attempts) == (attempts == 4, attempts)


def test_a_right_answer_between_two_wrong_ones_starts_the_count_again() -> None:
    wrong, right = (500, b""), (200, b"")
    with serve(Page(wrong, right, wrong, right)) as url:
        healthcheck = HealthCheck(url=url, interval=0.2, deadline=10.0, stable_for=0.3)
        assert check_url(healthcheck).ok


def test_a_server_that_starts_slowly_becomes_healthy() -> None:
    with serve(Page((503, b""), (503, b""), (200, b""))) as url:
        result = check_url(HealthCheck(url=url, interval=0.05, deadline=10.0))
    assert (result.ok, result.attempts) == (True, 3)
    assert message_of(result, url) == "GET URL answered 200 (3 tries in TIME)"


# Commands


def test_a_command_is_run_with_its_timeout_and_its_failure_is_returned(tmp_path: Path) -> None:
    def run_command(command: Command, timeout: float) -> StepOutcome:
        env = {"PATH": "/usr/bin:/bin"}
        context = StepContext(str(tmp_path), env, f"health-{tmp_path}", timeout)
        return run_step(command, context, write=lambda _: None)

    script = "echo not yet; kill -9 $$"
    healthcheck = HealthCheck(command=script, timeout=5.0, deadline=0.0)
    result = check(healthcheck, restarted=False, run_command=run_command)
    message = re.sub(r"in \S+\)$", "in TIME)", result.message)
    assert message == "the command failed: killed by SIGKILL (1 try in TIME)"
    assert (result.tail, result.signal, result.command) == ("not yet", "SIGKILL", script)
    healthcheck = HealthCheck(command="sleep 30", timeout=0.2, deadline=0.0)
    assert check(healthcheck, restarted=False, run_command=run_command).timed_out
