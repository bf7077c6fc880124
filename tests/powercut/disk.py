"""Make, mount and check ext4 file systems in files, and simulate power cuts of them."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_FLAGS_NOLOGFLUSH = 2
TOOLS = ("mkfs.ext4", "e2fsck", "mount", "umount", "unshare")
SIZE = 768 * 1024 * 1024  # bytes of a sparse file; deployctl needs some free space
SMALL = ("-N", "16384", "-J", "size=8", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard")


class Disk:
    """A disk image and the directory where it is mounted."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image = image
        self.place = place
        self.place.mkdir(exist_ok=True)

    def make(self) -> None:
        """Make the image, with an empty file system."""
        with self.image.open("wb") as file:
            file.truncate(SIZE)
        call("mkfs.ext4", "-q", "-F", *SMALL, str(self.image))

    def mount(self) -> None:
        """Mount the image; unmounting it frees the loop device, too (autoclear)."""
        call("mount", "-t", "ext4", "-o", "loop", str(self.image), str(self.place))

    def unmount(self) -> None:
        call("umount", str(self.place))

    def check(self) -> list[str]:
        """Mount the disk after a cut, which replays the journal; return the errors of e2fsck.

        The disk must be unmounted before, and is mounted afterwards.
        """
        self.mount()
        self.unmount()
        done = subprocess.run(
            ["e2fsck", "-n", "-f", str(self.image)], check=False, capture_output=True, text=True
        )
        self.mount()
        return [] if done.returncode == 0 else [f"e2fsck: {done.stdout}"]


def cut(disks: Sequence[Disk]) -> float:
    """Cut the power of all disks; return the last time when all had power (time.monotonic()).

    An fsync that is under way meanwhile may return success although the data is lost: only what was
    acknowledged before that time counts.
    """
    files = [os.open(disk.place, os.O_RDONLY) for disk in disks]
    last_power = time.monotonic()
    for file in files:
        fcntl.ioctl(file, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
    for file in files:
        os.close(file)
    return last_power


def call(*words: str) -> None:
    """Run a program; raise OSError with its stderr if it fails."""
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
