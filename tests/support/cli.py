"""Run deployctl as a process with an environment of its own, as a person or cron does."""

from __future__ import annotations

import contextlib
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
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import fork_server
from tests.support.paths import ROOT
from tests.support.workers import wait_until

_TIMEOUT = 60.0  # seconds for which a test waits for a command
PROGRAM = (sys.executable, "-m", "deployctl")


@dataclass(frozen=True)
class Done:
    """The result of a command that has ended: its exit code and its output."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The only line on stderr, without its prefix ``deployctl: ``."""
        (line,) = self.stderr.splitlines()
        assert line.startswith("deployctl: "), line
        return line.removeprefix("deployctl: ")


class Cli:
    """The command line with a given repos.yml: ``cli("deploy", "app")`` runs a command.

    ``wrapper`` are words put before every command: a program that starts it, and its arguments.
    """

    def __init__(self, directory: Path, config: Path) -> None:
        self.directory = directory
        self.config = config
        self.wrapper: tuple[str, ...] = ()
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
        env = {**self.env, **(env or {})}
        if not self.wrapper and fork_server.can_run(env):
            return run_forked(["-c", str(self.config), *words], self.directory, env)
        done = subprocess.run(
            self.argv(*words),
            check=False,
            capture_output=True,
            cwd=self.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT,
        )
        return _done(done)

    def json(self, *words: str, code: int = 0) -> Any:
        """Run a command with ``--json``, assert its exit code, and return its document."""
        done = self(*words, "--json")
        assert done.code == code, done
        return done.json

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command and return at once; it leads its own process group, like a shell's job.

        ``options`` are those of ``subprocess.Popen``.
        """
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
        return [*self.wrapper, *PROGRAM, "-c", str(self.config), *words]

    def on_terminal(self, *words: str, columns: int = 60) -> str:
        """Run a command on a terminal of this width, and return all that it wrote there."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = self.start(*words, stdout=follower, stderr=follower, stdin=follower)
        os.close(follower)
        output = b""
        try:
            while select.select([leader], [], [], 30)[0]:
                output += os.read(leader, 65536)
        except OSError:  # Linux fails with EIO once no process has the other end open
            pass
        finally:
            os.close(leader)
            process.wait()
        return output.decode().replace("\r\n", "\n")

    def wait_for(self, number: int, status: str = "") -> dict[str, Any]:
        """Wait until the deployment has this status (empty: has ended), and return it."""

        def has_status() -> bool:
            done = self("show", str(number), "--json")
            now = done.json if done.code == 0 else {"status": None, "finished_at": None}
            return bool(now["status"] == status or (not status and now["finished_at"]))

        wait_until(has_status)
        document: dict[str, Any] = self.json("show", str(number))
        return document

    def count(self) -> int:
        """Return the number of deployments in the history."""
        return len(self.json("history", "-n", "1000")["deployments"])


def run_forked(
    words: Sequence[str], directory: Path, env: Mapping[str, str] = fork_server.ENVIRONMENT
) -> Done:
    """Run a command in a process forked from one that has loaded all modules."""
    return _done(fork_server.run(words, directory, env, _TIMEOUT))


def _done(done: subprocess.CompletedProcess[bytes]) -> Done:
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


class Gate:
    """A step's command that waits until the test lets it go on.

    ``command`` writes the process id of its shell to a file and waits for another file.
    """

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self._reached = directory / f"{name}.reached"
        self._open = directory / f"{name}.open"
        self.command = (
            f"echo $$ > {self._reached}; while [ ! -e {self._open} ]; do sleep 0.02; done"
        )

    def wait(self) -> int:
        """Wait until a step has reached the gate; return the process id of its shell."""
        wait_until(lambda: self._reached.exists() and bool(self._reached.read_text()))
        return int(self._reached.read_text())

    def open(self) -> None:
        """Let the step that waits, and all later ones, go on."""
        self._open.touch()

    def close(self) -> None:
        """Make the next step wait."""
        self._open.unlink(missing_ok=True)
        self._reached.unlink(missing_ok=True)


def columns(line: str) -> int:
    """Return how wide the line is on a terminal."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def finish(process: subprocess.Popen[bytes]) -> Done:
    """Wait for the end of a command that :meth:`Cli.start` started."""
    stdout, stderr = process.communicate(timeout=60)
    return Done(process.returncode, stdout.decode(), stderr.decode())


def kill(pid: int) -> None:
    """Kill a process and wait until it has ended; do nothing if it does not exist."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """Tell whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for_end(pid: int) -> None:
    """Wait until the process has ended: one that was killed needs a moment for that."""
    wait_until(lambda: not is_running(pid))


def processes_called(argument: str) -> list[str]:
    """Return the ids of the processes that have this argument on their command line."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if argument.encode() in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0"):
                found.append(process)
    return found


def let_time_pass(seconds: float) -> None:
    """Sleep: the test asserts next that something did not happen meanwhile."""
    time.sleep(seconds)
