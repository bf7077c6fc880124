"""What must be true whatever happened: at once, after the next run, and after the one behind that.

The names I1 to I7 are those of the README's guarantees turned into questions to the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from deployctl.system.process_tree import MARKER
from tests.sweep.faults import descendants
from tests.sweep.scene import FILES, Scene

_LEFT_BEHIND = (".lock", ".new", ".index", "-journal", ".tmp")
_UNTOUCHED = frozenset(("stamps", "body"))


def at_once(scene: Scene) -> Iterator[str]:
    """What a visitor meets while nobody has repaired anything: a whole release, old or new."""
    if scene.strategy == "releases":
        yield from _live_is_whole(scene)


def after_repair(scene: Scene) -> Iterator[str]:
    """One run later: all is decided, what is live is what the record says, nothing is left over."""
    if scene.strategy == "releases" or not _is_degraded(scene):
        yield from _live_is_whole(scene)
    for number, status in scene.rows("SELECT number, status FROM deployments"):
        if status in ("queued", "running"):
            yield f"I3: #{number} is still {status}"
    yield from _record_tells_what_is_live(scene)
    yield from _releases_are_recorded(scene)
    yield from _nothing_is_left_behind(scene)
    yield from _no_process_is_left()
    yield from _steps_never_overlapped(scene)
    yield from _state_is_private(scene)


def _live_is_whole(scene: Scene) -> Iterator[str]:
    live = scene.live
    if live not in scene.revisions:
        yield f"I2: {live} is live"
        return
    root = scene.app / "current" if scene.strategy == "releases" else scene.app
    version = f"{scene.revisions.index(live) + 1}\n"
    wanted = {f"lib/{number % 5}/{number}": f"{number}\n" for number in range(FILES)}
    wanted |= {"version": version, "built": version}
    if scene.strategy == "releases" and not (root / ".complete").exists():
        yield f"I2: {os.readlink(root)} is live and not complete"
    for name, text in wanted.items():
        found = _text(root / name)
        if found != text:
            yield f"I2: {name} of what is live is {found!r}, not {text!r}"


def _record_tells_what_is_live(scene: Scene) -> Iterator[str]:
    question = (
        "SELECT revision FROM deployments WHERE status = 'succeeded' ORDER BY number DESC LIMIT 1"
    )
    ((recorded,),) = scene.rows(question)
    if recorded != scene.live and not _is_degraded(scene):
        yield f"I2: {scene.live} is live, and the record says {recorded}"


def _is_degraded(scene: Scene) -> bool:
    """Said loudly, and a person's to mend: going back failed, too."""
    return bool(scene.rows("SELECT 1 FROM deployments WHERE status = 'degraded'"))


def _releases_are_recorded(scene: Scene) -> Iterator[str]:
    if scene.strategy == "releases":
        recorded = {name for (name,) in scene.rows("SELECT name FROM releases") if name}
        on_disk = set(os.listdir(scene.app / "releases"))
        if recorded != on_disk:
            yield f"I6: releases on disk {sorted(on_disk)}, recorded {sorted(map(str, recorded))}"


def _nothing_is_left_behind(scene: Scene) -> Iterator[str]:
    locks = scene.state / "locks"
    for place, directories, files in os.walk(scene.now):
        for name in (*directories, *files):
            path = Path(place, name)
            if name.endswith(_LEFT_BEHIND) and path.parent != locks:
                yield f"I6: {path.relative_to(scene.now)} was left behind"


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
    for line in (_text(scene.now / "stamps") or "").splitlines():
        word, _, who = line.partition(" ")
        if word == "start":
            running = who
        elif who != running:
            yield f"I7: a step of {who} went on while one of {running} ran"


def _state_is_private(scene: Scene) -> Iterator[str]:
    for place, directories, files in os.walk(scene.state):
        for name in (*directories, *files):
            mode = os.lstat(os.path.join(place, name)).st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                yield f"P9: {name} has mode {stat.S_IMODE(mode):04o}"


def snapshot(scene: Scene) -> dict[str, tuple[int, ...]]:
    """Every file with the times of its last change; two of them tell whether anything happened."""
    found: dict[str, tuple[int, ...]] = {}
    for place, _, files in os.walk(scene.now):
        for name in sorted(set(files) - _UNTOUCHED):
            status = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
