"""Times and durations as people and scripts read them; inside, both are seconds."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def iso(moment: float | None) -> str | None:
    """Seconds since the epoch -> ``2026-01-31T08:15:30.123Z`` (ISO 8601, UTC)."""
    if moment is None:
        return None
    text = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def local(moment: float) -> str:
    """Seconds since the epoch -> ``2026-01-31 09:15:30`` in the reader's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def clock_time(moment: float, now: float) -> str:
    """Seconds since the epoch -> ``14:05``, with the date where that is not today's."""
    shown, today = local(moment)[:16], local(now)[:10]
    return shown.removeprefix(f"{today} ")


def parse_duration(text: str) -> float | None:
    """``90``, ``90s``, ``10m``, ``1h30m``, ``2d`` -> seconds; None where it is none of these."""
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def duration(seconds: float | None) -> str:
    """``0.4s``, ``12s``, ``3m 05s``, ``2h 10m``, ``3d 4h``; a dash where it is unknown."""
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


def age(moment: float, now: float) -> str:
    """How long ago: ``just now``, ``45s ago``, ``3m 05s ago``."""
    passed = now - moment
    return "just now" if passed < 2 else f"{duration(passed)} ago"
