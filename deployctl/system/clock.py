"""A moment that tells how long ago it was, whatever was done to the clock since."""

from __future__ import annotations

import time
from dataclasses import dataclass

from deployctl.system.process_tree import boot_id


@dataclass(frozen=True)
class Instant:
    """``wall`` is in seconds since the epoch; ``clock`` in seconds since the boot that ``boot``
    names, sleep of the machine included.
    """

    wall: float
    boot: str
    clock: float

    def until(self, later: Instant) -> float:
        """The seconds from here to there; only across a reboot is the wall clock believed."""
        passed = later.clock - self.clock if self.boot == later.boot else later.wall - self.wall
        return max(passed, 0.0)

    def is_ahead_of(self, now: Instant) -> bool:
        """Whether the clock was set back across a reboot, so that nobody can tell."""
        return self.boot != now.boot and self.wall > now.wall


def current_instant() -> Instant:
    return Instant(time.time(), boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))
