"""Check the invariants: before a repair, after the next run, and after one more run.

The names I1 to I7 stand for the README's guarantees, as they can be checked on the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from deployctl.system.process_tree import MARKER
from tests.sweep.faults import descendants
from tests.sweep.scene import FILES, Scene

# How names of files end that must not remain.
_TEMPORARY_SUFFIXES = (".lock", ".new", ".index", "-journal", ".tmp")
# Files of the sweep itself, which snapshots leave out.
_OWN_FILES = frozenset(("stamps", "body"))


def before_repair(scene: Scene) -> Iterator[str]:
    """Yield violations right after the fault: a complete release, old or new, must be live."""
    if scene.strategy == "releases":
        yield from _live_is_complete(scene)


def after_repair(scene: Scene) -> Iterator[str]:
    """Yield violations after a run.

    All deployments must have ended, the record must be right about what is live, and no temporary
    file and no process may be left.
    """
    if scene.strategy == "releases" or not _is_degraded(scene):
        yield from _live_is_complete(scene)
    for number, status in scene.rows("SELECT number, status FROM deployments"):
        if status in ("queued", "running"):
            yield f"I3: #{number} is still {status}"
    yield from _record_is_right_about_live(scene)
    yield from _releases_are_recorded(scene)
    yield from _no_temporary_file_is_left(scene)
    yield from _no_process_is_left()
    yield from _steps_never_overlapped(scene)
    yield from _state_is_private(scene)


def _live_is_complete(scene: Scene) -> Iterator[str]:
    live = scene.live
    if live not in scene.revisions:
        yield f"I2: {live} is live"
        return
    root = scene.app / "current" if scene.strategy == "releases" else scene.app
    version = f"{scene.revisions.index(live) + 1}\n"
    expected = {f"lib/{number % 5}/{number}": f"{number}\n" for number in range(FILES)}
    expected |= {"version": version, "built": version}
    if scene.strategy == "releases" and not (root / ".complete").exists():
        yield f"I2: {os.readlink(root)} is live and not complete"
    for name, text in expected.items():
        found = _text(root / name)
        if found != text:
            yield f"I2: {name} of what is live is {found!r}, not {text!r}"


def _record_is_right_about_live(scene: Scene) -> Iterator[str]:
    query = (
        "SELECT revision FROM deployments WHERE status = 'succeeded' ORDER BY number DESC LIMIT 1"
    )
    ((recorded,),) = scene.rows(query)
    if recorded != scene.live and not _is_degraded(scene):
        yield f"I2: {scene.live} is live, and the record says {recorded}"


def _is_degraded(scene: Scene) -> bool:
    """Tell whether a rollback failed, too: the status says so, and a person must repair it."""
    return bool(scene.rows("SELECT 1 FROM deployments WHERE status = 'degraded'"))


def _releases_are_recorded(scene: Scene) -> Iterator[str]:
    if scene.strategy == "releases":
        recorded = {name for (name,) in scene.rows("SELECT name FROM releases") if name}
        on_disk = set(os.listdir(scene.app / "releases"))
        if recorded != on_disk:
            yield f"I6: releases on disk {sorted(on_disk)}, recorded {sorted(map(str, recorded))}"


def _no_temporary_file_is_left(scene: Scene) -> Iterator[str]:
    locks = scene.state / "locks"
    for directory, directories, files in os.walk(scene.root):
        for name in (*directories, *files):
            path = Path(directory, name)
            if name.endswith(_TEMPORARY_SUFFIXES) and path.parent != locks:
                yield f"I6: {path.relative_to(scene.root)} was left behind"


def _no_process_is_left() -> Iterator[str]:
    for pid in descendants():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if f"{MARKER}=".encode() in environment:
            yield f"I5: process {pid} is left of a run"


def _steps_never_overlapped(scene: Scene) -> Iterator[str]:
    running = ""
    for line in (_text(scene.root / "stamps") or "").splitlines():
        word, _, shell = line.partition(" ")
        if word == "start":
            running = shell
        elif shell != running:
            yield f"I7: the step of process {shell} went on while that of {running} ran"


def _state_is_private(scene: Scene) -> Iterator[str]:
    for directory, directories, files in os.walk(scene.state):
        for name in (*directories, *files):
            mode = os.lstat(os.path.join(directory, name)).st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                yield f"P9: {name} has mode {stat.S_IMODE(mode):04o}"


def snapshot(scene: Scene) -> dict[str, tuple[int, ...]]:
    """Return modification time, size and inode of every file, to compare with a later snapshot."""
    states: dict[str, tuple[int, ...]] = {}
    for directory, _, files in os.walk(scene.root):
        for name in sorted(set(files) - _OWN_FILES):
            status = os.lstat(os.path.join(directory, name))
            path = os.path.join(directory, name)
            states[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return states


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
