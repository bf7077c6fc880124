"""A disk of a few megabytes that a test may fill."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BLOCK = 4096


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system in memory, mounted there; skips where that cannot be had."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    place.mkdir()
    options = f"size={megabytes}m,mode=0755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "deployctl-test", str(place)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave not one block -> the file that has them all."""
    path = place / "full"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * BLOCK)
    return path


def free(place: Path) -> int:
    """Bytes."""
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize
