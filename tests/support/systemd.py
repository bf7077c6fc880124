"""Stand-ins for systemd, which tests cannot run as process 1; and real cgroups."""

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

# Like the real one it starts the command in a session of its own and returns at once. It writes
# the arguments that it was given to {log}, one a line.
SYSTEMD_RUN = """#!/bin/sh
for word; do printf '%s\\n' "$word"; done >>{log}
while [ "$1" != -- ]; do shift; done
shift
exec setsid --fork "$@" </dev/null >/dev/null 2>&1
"""


def units(script: str) -> dict[str, str]:
    """Return the text of each unit in the script that ``setup systemd`` prints, by its name."""
    found = re.findall(r"(?ms)^cat >/etc/systemd/system/(\S+) <<'END'\n(.*?)^END$", script)
    return dict(found)


def settings(unit: str, name: str) -> list[str]:
    """Return the values of all settings of this name in the text of a unit."""
    return re.findall(rf"(?m)^{name}=(.*)$", unit)


class PathUnit:
    """A stand-in for a path unit with DirectoryNotEmpty= (systemd.path(5)).

    A thread looks into the watched directory every 10 milliseconds. While the directory is not
    empty it runs the ExecStart lines that ``setup systemd`` printed, one after the other, with a
    stand-in for systemd-run. ``words`` are all arguments that the latter was given so far.
    """

    def __init__(self, directory: Path, script: str) -> None:
        texts = units(script)
        (self.watched,) = settings(texts["deployctl.path"], "DirectoryNotEmpty")
        self._lines = settings(texts["deployctl.service"], "ExecStart")
        self._systemd_run = directory / "systemd-run"
        self._log = directory / "systemd-run.log"
        self._systemd_run.write_text(SYSTEMD_RUN.format(log=self._log))
        self._systemd_run.chmod(0o755)
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
        """Run the ExecStart lines of deployctl.service, each to its end."""
        for line in self._lines:
            program, *words = shlex.split(line.removeprefix("+"))
            if program == "/usr/bin/systemd-run":
                program = str(self._systemd_run)
            subprocess.run([program, *words], check=True, env={"PATH": os.defpath}, cwd="/")


class Cgroup:
    """A real cgroup. systemd runs each service in one, and kills all processes in it to stop it."""

    def __init__(self, parent: Path) -> None:
        self.path = parent / f"deployctl-test-{uuid.uuid4().hex}"
        self.path.mkdir()

    def move_in(self, pid: int) -> None:
        """Move a process into the cgroup."""
        (self.path / "cgroup.procs").write_text(f"{pid}\n")

    @property
    def kill(self) -> Path:
        """The file to write 1 into, which kills all processes of the cgroup: cgroups(7)."""
        return self.path / "cgroup.kill"

    def remove(self) -> None:
        """Kill all processes of the cgroup and remove it."""
        self.kill.write_text("1\n")
        wait_until(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """An empty cgroup; the test is skipped where none can be made."""
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
