"""The clock is set back or forward by a year, between deployments and during one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.app import App
from tests.support.bark import bark

Clock = Callable[[str], object]


@pytest.fixture
def clock(app: App) -> Clock:
    """``clock("-365d")`` sets the clock of deployctl with libfaketime, also while it runs.

    The programs that deployctl starts see the true time.
    """
    file = app.directory / "clock"
    file.write_text("+0")
    app.cli.env |= {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
    # Not by faketime(1): its arguments would override the file.
    app.cli.wrapper = ("env", f"LD_PRELOAD={_library()}")
    return file.write_text


def _library() -> Path:
    (library, *_) = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return library


def test_deployments_are_ordered_by_number_and_no_duration_is_negative(
    app: App, clock: Clock
) -> None:
    app.cli.env["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"  # else sleep(3) in the step does not work
    set_back = f"echo -365d > {app.directory}/clock"
    app.configure(stages=[{"name": "build", "run": set_back}], keep_releases=2)
    first = app.release("1")
    assert first["finished_at"] < first["started_at"]
    assert (first["status"], first["duration"]) == ("succeeded", 0)
    assert min(stage["duration"] for stage in first["stages"]) >= 0
    app.configure(stages=[], keep_releases=2)
    for version, offset in (("2", "+365d"), ("3", "-365d"), ("4", "+0")):
        clock(offset)
        app.release(version)
    history = app.cli.json("history")["deployments"]
    numbers = [deployment["number"] for deployment in history]
    assert numbers == [4, 3, 2, 1]
    assert app.status["rollback_to"]["deployment"] == 3
    releases = sorted(path.name[:2] for path in (app.path / "releases").iterdir())
    assert releases == ["3-", "4-"]
    assert app.cli("status", "app").code == 0


def test_a_notice_that_was_put_off_under_a_wrong_clock_is_sent(app: App, clock: Clock) -> None:
    with bark("error", "well") as phone:
        app.configure({"channels": {"phone": phone.url()}}, notify=["phone"])
        clock("+365d")
        app.push("")
        app.deploy(code=1)
        (notice,) = app.cli.json("notices")["notices"]
        assert notice["channels"][0]["state"] == "waiting"
        clock("+0")
        assert app.cli("run").code == 0
        (notice,) = app.cli.json("notices")["notices"]
        assert notice["channels"][0]["state"] == "sent"
    assert len(phone.posts) == 2


def test_a_notice_with_a_time_in_the_future_is_not_removed(app: App, clock: Clock) -> None:
    with bark() as phone:
        app.configure({"channels": {"phone": phone.url()}}, notify=["phone"])
        clock("+365d")
        app.release("1")
        clock("+0")
        assert app.cli("run").code == 0
        assert len(app.cli.json("notices")["notices"]) == 1
    assert app.live == "1"
