"""deployctl as a person, a script or cron runs it: a process with an environment of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.workers import wait_until

PROGRAM = (sys.executable, "-m", "deployctl")


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The one line on stderr, without the name in front."""
        (line,) = self.stderr.splitlines()
        assert line.startswith("deployctl: "), line
        return line.removeprefix("deployctl: ")


class Cli:
    """Calls with one repos.yml: ``cli("deploy", "app")``.

    ``through`` is a program, with its arguments, that starts them.
    """

    def __init__(self, directory: Path, config: Path) -> None:
        self.directory = directory
        self.config = config
        self.through: tuple[str, ...] = ()
        home = directory / "home"
        home.mkdir(exist_ok=True)
        self.env = {
            "PATH": os.defpath,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(directory),
            "PYTHONPATH": str(ROOT),
        }

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> Done:
        done = subprocess.run(
            self.argv(*words),
            check=False,
            capture_output=True,
            cwd=self.directory,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def json(self, *words: str, code: int = 0) -> Any:
        """The document of a call that ends with this code."""
        done = self(*words, "--json")
        assert done.code == code, done
        return done.json

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """A call that goes on meanwhile, leader of its own process group like a shell's job."""
        return subprocess.Popen(
            self.argv(*words),
            **{
                "cwd": self.directory,
                "env": self.env,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "start_new_session": True,
                **options,
            },
        )

    def argv(self, *words: str) -> list[str]:
        return [*self.through, *PROGRAM, "-c", str(self.config), *words]

    def on_terminal(self, *words: str, columns: int = 60) -> str:
        """What a call shows on a terminal of that width."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = self.start(*words, stdout=follower, stderr=follower, stdin=follower)
        os.close(follower)
        shown = b""
        try:
            while select.select([leader], [], [], 30)[0]:
                shown += os.read(leader, 65536)
        except OSError:  # Linux: nobody has the other end any more
            pass
        finally:
            os.close(leader)
            process.wait()
        return shown.decode().replace("\r\n", "\n")

    def wait_for(self, number: int, status: str = "") -> dict[str, Any]:
        """The deployment once it is in that status; without one, once it has ended."""

        def found() -> bool:
            done = self("show", str(number), "--json")
            now = done.json if done.code == 0 else {"status": None, "finished_at": None}
            return bool(now["status"] == status or (not status and now["finished_at"]))

        wait_until(found)
        document: dict[str, Any] = self.json("show", str(number))
        return document

    def count(self) -> int:
        """How many deployments the history has."""
        return len(self.json("history", "-n", "1000")["deployments"])


class Gate:
    """A step that waits: ``command`` says that it has come and goes on when it may."""

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self._come = directory / f"{name}.come"
        self._open = directory / f"{name}.open"
        self.command = f"echo $$ > {self._come}; while [ ! -e {self._open} ]; do sleep 0.02; done"

    def wait(self) -> int:
        """Until a step stands here -> its process id."""
        wait_until(lambda: self._come.exists() and bool(self._come.read_text()))
        return int(self._come.read_text())

    def open(self) -> None:
        self._open.touch()

    def close(self) -> None:
        """For the next one that comes."""
        self._open.unlink(missing_ok=True)
        self._come.unlink(missing_ok=True)


def finish(process: subprocess.Popen[bytes]) -> Done:
    """Wait for what was started."""
    stdout, stderr = process.communicate(timeout=60)
    return Done(process.returncode, stdout.decode(), stderr.decode())


def end(pid: int) -> None:
    """End a process that a step left behind."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def settle(seconds: float) -> None:
    """Give something that must not happen the time to happen."""
    time.sleep(seconds)
