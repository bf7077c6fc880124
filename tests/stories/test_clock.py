"""A clock that is set back and forward by a year, while nothing runs and in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.app import App
from tests.support.bark import bark

Clock = Callable[[str], object]


@pytest.fixture
def clock(app: App) -> Clock:
    """``clock("-365d")`` sets it for what runs and what will; what it starts has the true time."""
    file = app.directory / "clock"
    file.write_text("+0")
    app.cli.env |= {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
    # Not faketime(1): what its arguments say counts more than the file.
    app.cli.through = ("env", f"LD_PRELOAD={_library()}")
    return file.write_text


def _library() -> Path:
    (found, *_) = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return found


def test_order_is_by_number_and_nothing_takes_less_than_no_time(app: App, clock: Clock) -> None:
    app.cli.env["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"  # with it, sleep(3) does not work
    set_back = f"echo -365d > {app.directory}/clock"
    app.configure(stages=[{"name": "build", "run": set_back}], keep_releases=2)
    first = app.release("1")
    assert first["finished_at"] < first["started_at"]
    assert (first["status"], first["duration"]) == ("succeeded", 0)
    assert min(stage["duration"] for stage in first["stages"]) >= 0
    app.configure(stages=[], keep_releases=2)
    for version, moment in (("2", "+365d"), ("3", "-365d"), ("4", "+0")):
        clock(moment)
        app.release(version)
    numbers = [each["number"] for each in app.cli.json("history")["deployments"]]
    assert numbers == [4, 3, 2, 1]
    assert app.status["rollback_to"]["deployment"] == 3
    kept = sorted(path.name[:2] for path in (app.path / "releases").iterdir())
    assert kept == ["3-", "4-"]
    assert app.cli("status", "app").code == 0


def test_a_notice_that_a_wrong_clock_put_off_is_sent(app: App, clock: Clock) -> None:
    with bark("error", "well") as phone:
        app.configure({"channels": {"phone": phone.url()}}, notify=["phone"])
        clock("+365d")
        app.push("")
        app.deploy(code=1)
        (told,) = app.cli.json("notices")["notices"]
        assert told["channels"][0]["state"] == "waiting"
        clock("+0")
        assert app.cli("run").code == 0
        (told,) = app.cli.json("notices")["notices"]
        assert told["channels"][0]["state"] == "sent"
    assert len(phone.posts) == 2


def test_what_came_in_the_future_is_forgotten_no_sooner(app: App, clock: Clock) -> None:
    with bark() as phone:
        app.configure({"channels": {"phone": phone.url()}}, notify=["phone"])
        clock("+365d")
        app.release("1")
        clock("+0")
        assert app.cli("run").code == 0
        assert len(app.cli.json("notices")["notices"]) == 1
    assert app.live == "1"
