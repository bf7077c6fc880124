"""A repo for the soak test: random actions on it, and the checks after each round."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import deliveries
from tests.support.paths import ROOT
from tests.sweep import invariants
from tests.sweep.faults import descendants, reap
from tests.sweep.scene import Scene

_MAX_PROCESSES = 10
_TIMEOUT = 120.0  # seconds
_ACCEPTED = re.compile(rb"Status: 202 ")
_LEFT_FREE = 4096  # bytes that remain free when the disk is filled


class World:
    """A scene of the sweep, and the processes that work on it.

    ``done`` counts actions by their names; ``accepted`` are the ids of deliveries answered 202.
    """

    def __init__(
        self, directory: Path, upstream: Path, strategy: str, choose: random.Random
    ) -> None:
        self.scene = Scene(directory, strategy, upstream)
        self.scene.build()
        self.scene.restore("live")
        self.scene.configure(keep_releases=3)
        self.done: Counter[str] = Counter()
        self.accepted: set[str] = set()
        self._choose = choose
        self._directory = directory
        self._filler = directory / "filler"
        self._running: list[subprocess.Popen[bytes]] = []
        self._deliveries: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._count = 0

    # Actions of people and forges, and failures. act() finds them by their names.

    def act(self) -> None:
        """Start one random action, and do not wait for its end."""
        self._forget_ended()
        if len(self._running) >= _MAX_PROCESSES:
            time.sleep(0.05)
            return
        name = self._choose.choices([*_WEIGHTS], [*_WEIGHTS.values()])[0]
        self.done[name] += 1
        getattr(self, f"_{name}")()

    def _push(self, kind: str = "") -> None:
        self.scene.push(kind)
        if self._choose.random() < 0.8:
            self._deliver()

    def _push_bad(self) -> None:
        self._push(self._choose.choice(("bad", "broken")))

    def _deliver(self, name: str = "") -> None:
        """Run deploy.cgi as a web server does; ``name`` is the delivery's id; empty: a new one."""
        self._count += 1
        name = name or f"delivery-{self._count}"
        body = json.dumps(deliveries.push(after=self.scene.revisions[-1])).encode()
        env = self._environment(
            DEPLOYCTL_CONFIG=str(self.scene.config), GATEWAY_INTERFACE="CGI/1.1",
            REQUEST_METHOD="POST", PATH_INFO="",
        )  # fmt: skip
        for header, value in deliveries.headers(body, number=name).items():
            prefix = "" if header.startswith("content-") else "HTTP_"
            env[prefix + header.upper().replace("-", "_")] = value
        process = self._start([sys.executable, str(ROOT / "deploy.cgi")], env, body)
        self._deliveries.append((name, process))

    def _deliver_again(self) -> None:
        if self._deliveries:
            self._deliver(self._choose.choice(self._deliveries)[0])

    def _run(self) -> None:
        self._deployctl("run")

    def _sync(self) -> None:
        self._deployctl("sync")

    def _deploy(self) -> None:
        self._deployctl("deploy", "app", *self._choose.choice(((), ("--detach",), ("--force",))))

    def _rollback(self) -> None:
        self._deployctl("rollback", "app")

    def _cancel(self) -> None:
        rows = self.scene.rows("SELECT max(number) FROM deployments")
        self._deployctl("cancel", str(rows[0][0]))

    def _lock(self) -> None:
        self._deployctl("lock", "app", "-m", "soak")

    def _unlock(self) -> None:
        self._deployctl("unlock", "app")

    def _resume(self) -> None:
        self._deployctl("resume", "app")

    def _kill(self) -> None:
        """Kill a random process, as the kernel does when memory is short."""
        pids = [pid for pid in descendants() if self._is_at_work(pid)]
        if pids:
            _signal(self._choose.choice(pids), signal.SIGKILL)

    def _crash(self) -> None:
        """Kill all processes, as when the machine stops."""
        for pid in [*descendants()]:
            if self._is_at_work(pid):
                _signal(pid, signal.SIGKILL)

    def _terminate(self) -> None:
        if self._running:
            _signal(self._choose.choice(self._running).pid, signal.SIGTERM)

    def _fill(self) -> None:
        """Fill the disk for up to 1.5 seconds, if it is the tmpfs of this test."""
        if not os.path.ismount(self._directory):
            self.done["fill"] -= 1
            return
        with contextlib.suppress(OSError), self._filler.open("wb") as file:
            status = os.statvfs(self._directory)
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - _LEFT_FREE)
        timer = threading.Timer(self._choose.uniform(0.1, 1.5), self._filler.unlink, (True,))
        timer.start()

    def _is_at_work(self, pid: int) -> bool:
        """Tell whether it is a process of this world, by its working directory or its arguments."""
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            directory = os.readlink(f"/proc/{pid}/cwd")
            root = str(self.scene.root)
            return root.encode() in words or directory.startswith(root)
        return False

    def _deployctl(self, *words: str) -> None:
        argv = [sys.executable, "-m", "deployctl", "-c", str(self.scene.config), *words]
        self._start(argv, self._environment())

    def _start(
        self, argv: list[str], env: dict[str, str], body: bytes = b""
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv,
            cwd=self.scene.root,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if body else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(body)
        process.stdin = None
        self._running.append(process)
        return process

    @staticmethod
    def _environment(**variables: str) -> dict[str, str]:
        return {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), **variables}

    def _forget_ended(self) -> None:
        self._running = [process for process in self._running if process.poll() is None]

    # Checks.

    def settle(self) -> Iterator[str]:
        """Wait until nothing runs any more, repair, and yield all violations."""
        yield from self._wait()
        self._filler.unlink(missing_ok=True)
        self._collect_answers()
        yield from self._command("unlock", "app")
        yield from self._command("run")
        yield from self._wait()
        yield from invariants.after_repair(self.scene)
        yield from self._accepted_are_stored()
        before = invariants.snapshot(self.scene)
        yield from self._command("run")
        after = invariants.snapshot(self.scene)
        changed = [
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        ]
        if changed:
            yield f"I4: a second run changed {sorted(changed)}"
        yield from self._sync_deploys()

    def _wait(self) -> Iterator[str]:
        """Wait until no process of this world runs any more; after a timeout yield a violation."""
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            self._forget_ended()
            if not self._running and not any(map(self._is_at_work, descendants())):
                reap()  # orphans are children of this process, which must wait for them
                return
            time.sleep(0.05)
        yield f"P6: still at work after {_TIMEOUT:g} s"

    def _command(self, *words: str) -> Iterator[str]:
        """Run a command of deployctl to its end; yield a violation if it fails."""
        argv = [sys.executable, "-m", "deployctl", "-c", str(self.scene.config), *words]
        done = subprocess.run(
            argv, check=False, capture_output=True, env=self._environment(), cwd=self.scene.root
        )
        if done.returncode != 0:
            yield f"{' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}"

    def _collect_answers(self) -> None:
        """Read the answers to all deliveries, and note which were answered 202."""
        for name, process in self._deliveries:
            output = process.stdout.read() if process.stdout else b""
            if process.stdout:
                process.stdout.close()
            if _ACCEPTED.search(output):
                self.accepted.add(name)
        self._deliveries.clear()

    def _accepted_are_stored(self) -> Iterator[str]:
        """Yield a violation for each delivery that was answered 202 and has no deployment (P1)."""
        stored = {
            name
            for (name,) in self.scene.rows(
                "SELECT forge_id FROM deliveries JOIN deployments ON number = deployment"
            )
        }
        for name in sorted(self.accepted - stored):
            yield f"I1: {name} was accepted and is lost"

    def _sync_deploys(self) -> Iterator[str]:
        """Push a good version without a delivery: sync alone must bring it live (P10)."""
        self.scene.push("")
        yield from self._command("sync")
        live, wanted = self.scene.live, self.scene.revisions[-1]
        if live != wanted:
            yield f"P10: sync brought {live} live, not {wanted}"
        yield from invariants.after_repair(self.scene)


_WEIGHTS: dict[str, float] = {
    "push": 8, "push_bad": 3, "deliver": 4, "deliver_again": 2, "run": 6, "sync": 2,
    "deploy": 3, "rollback": 2, "cancel": 2, "lock": 0.5, "unlock": 1.5, "resume": 1,
    "kill": 5, "crash": 2, "terminate": 2, "fill": 1,
}  # fmt: skip


class Visitor(threading.Thread):
    """A visitor who reads the live release all the time: it must always be complete (I2, P4)."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self._scene = world.scene
        self._stopping = threading.Event()
        self.visits = 0
        self.violations: list[str] = []

    def run(self) -> None:
        while self._scene.strategy == "releases" and not self._stopping.wait(0.002):
            self.visits += 1
            self.violations += self._visit()

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _visit(self) -> list[str]:
        """Read the live release; return a violation if it is missing or not complete."""
        current = self._scene.app / "current"
        try:
            link = os.readlink(current)
        except OSError:
            return ["P4: nothing is live"]
        release = self._scene.app / link
        texts = {name: _text(release / name) for name in ("version", "built", "REVISION")}
        complete = (release / ".complete").exists() and None not in texts.values()
        if complete and texts["version"] == texts["built"]:
            return []
        with contextlib.suppress(OSError):
            if os.readlink(current) != link:  # it was replaced meanwhile
                return []
        return [f"P4: {link} is live with {texts}"]


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def statuses(world: World) -> dict[str, Any]:
    """Return the number of deployments with each status, for the report."""
    rows = world.scene.rows("SELECT status, count(*) FROM deployments GROUP BY status")
    return {str(status): count for status, count in rows}
