"""Times and durations: written as text, and durations parsed."""

from __future__ import annotations

import time

import pytest

from deployctl.values.times import age, duration, iso, local, parse_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1769847330.1239, "2026-01-31T08:15:30.123Z"),
        (1e9, "2001-09-09T01:46:40.000Z"),
        (None, None),
    ],
)
def test_iso_writes_a_time_in_utc(seconds: float | None, text: str | None) -> None:
    assert iso(seconds) == text


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_the_local_time_zone_changes_only_local(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert iso(1769847330) == "2026-01-31T08:15:30.000Z"
        assert (
            local(1769847330)
            == {
                "UTC": "2026-01-31 08:15:30",
                "Asia/Tokyo": "2026-01-31 17:15:30",
            }[zone]
        )
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("1.5", 1.5),
        ("90s", 90),
        ("0.5s", 0.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h30m5s", 5405),
        ("2d", 172800),
        ("2d1s", 172801),
        *((bad, None) for bad in ("", "s", "10 m", "-5", "1m1h", "10x", "1e3", ".5", "1.5h")),
        *((bad, None) for bad in ("10m ", "10m\n", "5\n", "\u0661\u0662", "\u0661m", "nan", "inf")),
    ],
)
def test_a_duration_is_parsed_or_none(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "0.0s"),
        (0, "0.0s"),
        (0.44, "0.4s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (185, "3m 05s"),
        (3599.6, "1h 00m"),
        (7800, "2h 10m"),
        (86399.9, "1d 0h"),
        (273600, "3d 4h"),
    ],
)
def test_a_duration_is_written_with_at_most_two_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [(-60, "just now"), (0, "just now"), (1.9, "just now"), (45, "45s ago"), (185, "3m 05s ago")],
)
def test_an_age_is_written_relative_to_now(passed: float, text: str) -> None:
    assert age(1000 - passed, 1000) == text
