"""What a dead runner left at work: the step it was in, and our own helpers such as git.

The kernel frees the locks of a process that dies and leaves its children alone, so whoever comes
next ends them first. A stranger is never met: a process is known by its pid, its start and the
boot together, and a group by a leader that cannot end while it is signalled.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict

from deployctl.system.process_tree import (
    Identity,
    boot_id,
    end_group,
    end_marked,
    identity,
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


def end_steps(path: str) -> None:
    """End the step that is noted there, or all of those that ran beside each other."""
    for each in (path, *glob.glob(f"{glob.escape(path)}.*")):
        end_step(each)


def end_step(path: str) -> None:
    """End the noted step if it still runs: its group, and what of it got away.

    One whose leader has ended has ended: what it left behind is there on purpose, such as the
    daemon that a restart started.
    """
    noted = _noted(path)
    if noted is None:
        return
    leader, marker = noted
    with contextlib.suppress(PermissionError):
        if is_alive(leader) and send_signal(leader, signal.SIGSTOP):  # its group stays its own
            end_group(leader.pid)
            end_marked(marker)


def _noted(path: str) -> tuple[Identity, str] | None:
    """A process and its marker; None where none was noted, or not to the end."""
    try:
        with open(path, encoding="ascii") as file:
            noted = json.load(file)
        marker = str(noted.pop("marker"))
        return Identity(**noted), marker
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def marker_of_helpers(runner: Identity) -> str:
    """What git and our other helpers carry: whose they are."""
    return f"helper-{runner.pid}-{runner.started}"


def end_helpers(runner: Identity) -> None:
    """End what a process of ours left, once it is dead; after a reboot nothing of it is there."""
    if runner.boot_id == boot_id() and not is_alive(runner):
        end_marked(marker_of_helpers(runner))


@contextlib.contextmanager
def noted_holder(path: str) -> Iterator[None]:
    """While the block runs, say who holds a lock; first end what its last holder left, if it died.

    A note that is still there was left by one that did not come to its end.
    """
    before = _noted(path)
    if before is not None:
        end_helpers(before[0])
    note_step(path, identity(), "")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
