"""Stand-ins for systemd, which runs as process 1 or not at all, and the cgroups it would use."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.workers import wait_until

# As the real one: it returns once the command runs, which gets a session of its own.
SYSTEMD_RUN = """#!/bin/sh
for word; do printf '%s\\n' "$word"; done >>{log}
while [ "$1" != -- ]; do shift; done
shift
exec setsid --fork "$@" </dev/null >/dev/null 2>&1
"""


def units(script: str) -> dict[str, str]:
    """What ``setup systemd`` writes: the text of each unit, by its name."""
    found = re.findall(r"(?ms)^cat >/etc/systemd/system/(\S+) <<'END'\n(.*?)^END$", script)
    return dict(found)


def settings(unit: str, name: str) -> list[str]:
    return re.findall(rf"(?m)^{name}=(.*)$", unit)


class PathUnit:
    """Does what systemd.path(5) says of DirectoryNotEmpty=: a loop in the place of systemd.

    What it starts is the ExecStart lines as they are printed, one after the other; systemd-run is
    a stand-in too. ``runs`` are the words that it was given each time.
    """

    def __init__(self, directory: Path, script: str) -> None:
        found = units(script)
        (self.watched,) = settings(found["deployctl.path"], "DirectoryNotEmpty")
        self._lines = settings(found["deployctl.service"], "ExecStart")
        self._program = directory / "systemd-run"
        self._log = directory / "systemd-run.log"
        self._program.write_text(SYSTEMD_RUN.format(log=self._log))
        self._program.chmod(0o755)
        self._stopped = threading.Event()
        self._loop = threading.Thread(target=self._watch)

    def __enter__(self) -> PathUnit:
        Path(self.watched).mkdir(parents=True, mode=0o700)
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._loop.join()

    @property
    def words(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def _watch(self) -> None:
        while not self._stopped.is_set():
            if os.listdir(self.watched):
                self.start_service()
            time.sleep(0.01)

    def start_service(self) -> None:
        for line in self._lines:
            program, *words = shlex.split(line.removeprefix("+"))
            if program == "/usr/bin/systemd-run":
                program = str(self._program)
            subprocess.run([program, *words], check=True, env={"PATH": os.defpath}, cwd="/")


class Cgroup:
    """A real one: what systemd puts a service into, and empties when that is stopped."""

    def __init__(self, parent: Path) -> None:
        self.path = parent / f"deployctl-test-{uuid.uuid4().hex}"
        self.path.mkdir()

    def take(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(f"{pid}\n")

    @property
    def kill(self) -> Path:
        """Who writes 1 into this file ends all that is in it: cgroups(7)."""
        return self.path / "cgroup.kill"

    def remove(self) -> None:
        self.kill.write_text("1\n")
        wait_until(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    parents = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    try:
        made = Cgroup(parents[0])
    except (IndexError, OSError) as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    if not made.kill.exists():
        made.path.rmdir()
        pytest.skip("this kernel has no cgroup.kill")
    yield made
    made.remove()
