"""Times and durations as text for people and scripts, and parsing of durations."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def iso(seconds: float | None) -> str | None:
    """Return seconds since the epoch as ``2026-01-31T08:15:30.123Z`` (ISO 8601, UTC)."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def local(seconds: float) -> str:
    """Return seconds since the epoch as ``2026-01-31 09:15:30`` in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def clock_time(seconds: float, now: float) -> str:
    """Return a time as ``14:05``, or with its date if that is not today's, in the local time zone.

    Both times are in seconds since the epoch.
    """
    shown, today = local(seconds)[:16], local(now)[:10]
    return shown.removeprefix(f"{today} ")


def parse_duration(text: str) -> float | None:
    """Return the seconds of ``90``, ``90s``, ``10m``, ``1h30m``, ``2d``; None for other texts."""
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def duration(seconds: float | None) -> str:
    """Return seconds as ``0.4s``, ``12s``, ``3m 05s``, ``2h 10m`` or ``3d 4h``; None as a dash."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def age(seconds: float, now: float) -> str:
    """Return how long ago a time was: ``just now``, ``45s ago``, ``3m 05s ago``.

    Both times are in seconds since the epoch.
    """
    passed = now - seconds
    return "just now" if passed < 2 else f"{duration(passed)} ago"
