"""A point in time, and the seconds between two of them, correct although the clock was changed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from deployctl.system.process_tree import boot_id


@dataclass(frozen=True)
class Instant:
    """A point in time, read from two clocks.

    ``wall`` is the wall clock in seconds since the epoch. ``clock`` is CLOCK_BOOTTIME
    (clock_gettime(2)): seconds since the boot that ``boot`` names, including the time that the
    machine slept. It cannot be set.
    """

    wall: float
    boot: str
    clock: float

    def seconds_until(self, later: Instant) -> float:
        """Return the seconds from this instant to a later one, never less than 0.

        The wall clock, which may have been set meanwhile, is used only if the machine was rebooted
        between the two.
        """
        passed = later.clock - self.clock if self.boot == later.boot else later.wall - self.wall
        return max(passed, 0.0)

    def is_ahead_of(self, now: Instant) -> bool:
        """Tell whether the machine was rebooted since and its wall clock is behind this instant.

        The clock was set back then, and the time that has passed is not known.
        """
        return self.boot != now.boot and self.wall > now.wall


def current_instant() -> Instant:
    """Return the current time."""
    return Instant(time.time(), boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))
