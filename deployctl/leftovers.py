"""What a dead runner left at work: the step it was in, and our own helpers such as git.

The kernel frees the locks of a process that dies and leaves its children alone, so whoever comes
next ends them first. A stranger is never met: a process is known by its pid, its start and the
boot together, and a group by a leader that cannot end while it is signalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import asdict

from deployctl.process_tree import (
    Identity,
    boot_id,
    end_group,
    end_marked,
    is_alive,
    send_signal,
)


def note_step(path: str, leader: Identity, marker: str) -> None:
    """Write down which step runs now; best effort, for the disk may be full.

    Not synced: after a power cut there is no such process any more.
    """
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
            json.dump({**asdict(leader), "marker": marker}, file)


def end_step(path: str) -> None:
    """End the noted step if it still runs: its group, and what of it got away.

    One whose leader has ended has ended: what it left behind is there on purpose, such as the
    daemon that a restart started.
    """
    try:
        with open(path, encoding="ascii") as file:
            noted = json.load(file)
        marker, leader = str(noted.pop("marker")), Identity(**noted)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return  # none was noted, or not to the end
    with contextlib.suppress(PermissionError):
        if is_alive(leader) and send_signal(leader, signal.SIGSTOP):  # its group stays its own
            end_group(leader.pid)
            end_marked(marker)


def marker_of_helpers(runner: Identity) -> str:
    """What git and our other helpers carry: whose they are."""
    return f"helper-{runner.pid}-{runner.started}"


def end_helpers(runner: Identity) -> None:
    """End what a dead process of ours left; after a reboot nothing of it is there."""
    if runner.boot_id == boot_id():
        end_marked(marker_of_helpers(runner))
