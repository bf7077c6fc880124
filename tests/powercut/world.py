"""A machine for the power cut test: one repo and its state, on disks that can lose power."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.powercut.disk import Disk
from tests.support.deliveries import SECRET
from tests.support.upstream import Upstream, git

BUILD = "rm -rf built && mkdir built && cp src/0/* built/"
SMALL_FILES = 300
BIG_FILES = 3
Tree = dict[str, tuple[str, str]]  # path -> mode and blob sha, as git ls-tree prints them


class World:
    """One repo with its upstream, its repos.yml and its disks.

    ``program`` is the directory that contains the package deployctl. ``disks`` is 1 or 2: path and
    state are on the same disk, or on one each. ``revisions`` begins with an empty one, so that the
    index is the version.
    """

    def __init__(self, directory: Path, program: Path, strategy: str, disks: int) -> None:
        self.directory = directory
        self.strategy = strategy
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "TMPDIR": str(directory),
        }
        self.use(program)
        names = ("first", "second")[:disks]
        self.disks = [Disk(directory / f"{name}.img", directory / name) for name in names]
        self.path = self.disks[0].place / "srv" / "app"
        self.state = self.disks[-1].place / "var" / "lib" / "deployctl"
        self.config = directory / "repos.yml"
        self.upstream = Upstream(directory)
        self.revisions = [""]
        self.configure()

    def use(self, program: Path) -> None:
        """Run the package deployctl in this directory from now on."""
        self.program = program
        self.env["PYTHONPATH"] = str(program)

    def configure(self, **keys: Any) -> None:
        """Write repos.yml, with other keys for the repo."""
        repo = {
            "url": self.upstream.url,
            "path": str(self.path),
            "strategy": self.strategy,
            "id": 1296269,
            "webhook_secret": SECRET,
            "stages": [{"name": "build", "run": BUILD}],
            "restart": "test -s version",
            "keep_releases": 2,
            **keys,
        }
        self.config.write_text(
            yaml.safe_dump({"state_dir": str(self.state), "repos": {"app": repo}})
        )
        self.config.chmod(0o600)

    def push(self) -> str:
        """Commit and push the next version, in which some files change; return its sha."""
        version = len(self.revisions)
        files = {
            f"src/{number % 6}/{number}": f"{number}, {version if number % 2 else 'ever'}\n" * 9
            for number in range(SMALL_FILES)
        }
        for number in range(BIG_FILES):
            files[f"big/{number}"] = f"{version} {number} of the big ones\n" * 30_000
        self.revisions.append(self.upstream.commit({**files, "version": f"{version}\n"}))
        return self.revisions[-1]

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "deployctl", "-c", str(self.config), *words]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command of deployctl and return at once."""
        return subprocess.Popen(
            self.argv(*words),
            env=self.env,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def deployctl(self, *words: str) -> Any:
        """Run a command with ``--json``, assert that it succeeds, and return its document."""
        done = subprocess.run(
            self.argv(*words, "--json"),
            check=False,
            capture_output=True,
            env=self.env,
            cwd=self.directory,
            timeout=120,
        )
        assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout!r} {done.stderr!r}"
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def record(self) -> Iterator[sqlite3.Connection]:
        """Open the record until the block is left."""
        with contextlib.closing(sqlite3.connect(self.state / "deployctl.db")) as db:
            yield db

    def tree(self, revision: str) -> Tree:
        """Return the files that must be on disk if this revision is live: also the built ones."""
        lines = git(self.upstream.work, "ls-tree", "-r", "-z", revision).split("\0")
        found: Tree = {}
        for line in filter(None, lines):
            entry, _, name = line.partition("\t")
            mode, _, blob = entry.split()
            found[name] = (mode, blob)
        copied = {name: file for name, file in found.items() if name.startswith("src/0/")}
        return found | {f"built/{name.rpartition('/')[2]}": file for name, file in copied.items()}

    def snapshot(self) -> dict[str, tuple[int, int, int]]:
        """Return inode, modification time and size of all files of the state and the path."""
        found = {}
        for path in [*self.state.rglob("*"), *self.path.rglob("*")]:
            status = path.lstat()
            if path.is_file() and "locks" not in path.parts:
                found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found


def on_disk(directory: Path) -> Tree:
    """Return the files in the directory, but for .git, in the form of :meth:`World.tree`."""
    found: Tree = {}
    for parent, _, names in os.walk(directory):
        for path in (Path(parent) / name for name in names):
            name = str(path.relative_to(directory))
            if not name.startswith(".git/"):
                found[name] = (_mode(path), _blob(path.read_bytes()))
    return found


def _mode(path: Path) -> str:
    return "100755" if path.lstat().st_mode & stat.S_IXUSR else "100644"


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def end_processes() -> None:
    """Kill all processes of this process namespace but its init (1) and this one."""
    deadline = time.monotonic() + 20
    while found := [pid for pid in _processes() if pid not in (1, os.getpid())]:
        assert time.monotonic() < deadline, f"{found} do not end"
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _processes() -> list[int]:
    """Return all processes that are no zombies."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
            if fields.split()[0] != "Z":
                found.append(int(pid))
    return found
