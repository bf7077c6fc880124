"""An ext4 file system in a file, whose power can be cut."""

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
SIZE = 768 * 1024 * 1024  # sparse; deployctl wants some space to be free
SMALL = ("-N", "16384", "-J", "size=8", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard")


class Disk:
    """An image and the directory where it is mounted."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image = image
        self.place = place
        self.place.mkdir(exist_ok=True)

    def make(self) -> None:
        with self.image.open("wb") as file:
            file.truncate(SIZE)
        call("mkfs.ext4", "-q", "-F", *SMALL, str(self.image))

    def mount(self) -> None:
        """The loop device goes with the mount (autoclear)."""
        call("mount", "-t", "ext4", "-o", "loop", str(self.image), str(self.place))

    def unmount(self) -> None:
        call("umount", str(self.place))

    def complaints(self) -> list[str]:
        """Mount it after a cut, which replays its journal -> what e2fsck finds then."""
        self.mount()
        self.unmount()
        done = subprocess.run(
            ["e2fsck", "-n", "-f", str(self.image)], check=False, capture_output=True, text=True
        )
        self.mount()
        return [] if done.returncode == 0 else [f"e2fsck: {done.stdout}"]


def cut(disks: Sequence[Disk]) -> float:
    """Stop them all -> the last moment at which they had power, as time.monotonic() tells it.

    What an fsync that is under way meanwhile returns is not to be believed: it may be success.
    """
    files = [os.open(disk.place, os.O_RDONLY) for disk in disks]
    at = time.monotonic()
    for file in files:
        fcntl.ioctl(file, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
    for file in files:
        os.close(file)
    return at


def call(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
