"""A file system of a few megabytes that a test may fill."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BLOCK = 4096


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """Make the directory, mount a tmpfs on it, and unmount it at the end of the block.

    The test is skipped where this account cannot mount one.
    """
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    directory.mkdir()
    options = f"size={megabytes}m,mode=0755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "deployctl-test", str(directory)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Write a file until no block of the file system is free; return its path."""
    path = directory / "full"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * BLOCK)
    return path


def free_bytes(directory: Path) -> int:
    """Return how many bytes of the file system are free."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize
