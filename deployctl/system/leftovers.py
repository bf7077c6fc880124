"""End the processes that a deployctl process left running when it died.

These are the step that it ran and its helpers, such as git. The kernel frees the locks of a process
that dies but does not end its children, so the next process that takes the lock ends them first.

No other process is signalled by mistake. A process is identified by its pid, its start time and the
boot together. A process group is signalled only while its leader is stopped or not yet reaped, so
that the group's id cannot be reused meanwhile.

A note is a small file beside a lock file that says which process is running. It contains JSON: the
fields of :class:`Identity` and a ``marker``, which :mod:`deployctl.system.process_tree` explains.
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


def write_note(path: str, process: Identity, marker: str) -> None:
    """Write a note: the leader of the running step and its marker, or the holder of a lock.

    An OSError is ignored, because the disk may be full. The file is not synced to the disk: after a
    power cut the process no longer exists.
    """
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
            json.dump({**asdict(process), "marker": marker}, file)


def parallel_note_path(path: str, position: int | str) -> str:
    """Return the path of the note about one of several steps that run at the same time.

    ``path`` is that of their repo. No repo's name can contain the character between the two: the
    note of ``www`` must not be taken for that of ``www.step``.
    """
    return f"{path}+{position}"


def end_steps(path: str) -> None:
    """End the step in the note ``path``, and the parallel ones in the notes beside it."""
    for note in (path, *glob.glob(parallel_note_path(glob.escape(path), "*"))):
        end_step(note)


def end_step(path: str) -> None:
    """End the step in a note if its leader still runs: its group, and every marked process.

    If the leader has ended, nothing is done: the step was over, and a process that it left behind
    is there on purpose, such as the daemon that a restart step started. Nothing is done either if
    there is no readable note, or if the leader belongs to another account.
    """
    note = _read_note(path)
    if note is None:
        return
    leader, marker = note
    with contextlib.suppress(PermissionError):
        # A stopped leader cannot end, so the id of its group cannot be reused meanwhile.
        if is_alive(leader) and send_signal(leader, signal.SIGSTOP):
            end_group(leader.pid)
            end_marked(marker)


def _read_note(path: str) -> tuple[Identity, str] | None:
    """Return the process and the marker in a note; None if it is missing or incomplete."""
    try:
        with open(path, encoding="ascii") as file:
            note = json.load(file)
        marker = str(note.pop("marker"))
        return Identity(**note), marker
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def marker_of_helpers(runner: Identity) -> str:
    """Return the marker of git and the other helpers that one deployctl process starts."""
    return f"helper-{runner.pid}-{runner.started}"


def end_helpers(runner: Identity) -> None:
    """End the helpers that a deployctl process left running, if that process is dead.

    Nothing is done if the machine was rebooted since: none of them exists then.
    """
    if runner.boot_id == boot_id() and not is_alive(runner):
        end_marked(marker_of_helpers(runner))


@contextlib.contextmanager
def lock_holder_note(path: str) -> Iterator[None]:
    """Keep a note about this process, the holder of a lock, while the block runs.

    The note is removed at the end of the block. One that is there at its start was left by a holder
    that died: that holder's helpers are ended first.
    """
    previous = _read_note(path)
    if previous is not None:
        end_helpers(previous[0])
    write_note(path, identity(), "")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
