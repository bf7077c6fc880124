"""A repo under real processes: what can be done to it, and what is true once it has settled."""

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

_MOST_AT_ONCE = 10
_PATIENCE = 120.0  # seconds
_ACCEPTED = re.compile(rb"Status: 202 ")
_LEFT_FREE = 4096  # bytes of a disk that is called full


class World:
    """One scene, the processes at work on it, and what they were promised."""

    def __init__(
        self, directory: Path, upstream: Path, strategy: str, choose: random.Random
    ) -> None:
        self.scene = Scene(directory, strategy, upstream)
        self.scene.build()
        self.scene.begin("live")
        self.scene.configure(keep_releases=3)
        self.done: Counter[str] = Counter()
        self.promised: set[str] = set()
        self._choose = choose
        self._directory = directory
        self._filler = directory / "filler"
        self._running: list[subprocess.Popen[bytes]] = []
        self._deliveries: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._count = 0

    # what people, forges and fate do

    def act(self) -> None:
        """One thing at random, not waited for."""
        self._bury()
        if len(self._running) >= _MOST_AT_ONCE:
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
        """deploy.cgi as a web server starts it."""
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
        """One process at random, as the kernel does when memory is short."""
        found = [pid for pid in descendants() if self._is_at_work(pid)]
        if found:
            _signal(self._choose.choice(found), signal.SIGKILL)

    def _crash(self) -> None:
        """All of them, as when the machine stops."""
        for pid in [*descendants()]:
            if self._is_at_work(pid):
                _signal(pid, signal.SIGKILL)

    def _terminate(self) -> None:
        if self._running:
            _signal(self._choose.choice(self._running).pid, signal.SIGTERM)

    def _fill(self) -> None:
        """Nothing fits for a moment; only where the disk is one of ours."""
        if not os.path.ismount(self._directory):
            self.done["fill"] -= 1
            return
        with contextlib.suppress(OSError), self._filler.open("wb") as file:
            status = os.statvfs(self._directory)
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - _LEFT_FREE)
        timer = threading.Timer(self._choose.uniform(0.1, 1.5), self._filler.unlink, (True,))
        timer.start()

    def _is_at_work(self, pid: int) -> bool:
        """Whether it is a process of this world: by its directory or by its words."""
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            place = os.readlink(f"/proc/{pid}/cwd")
            return str(self.scene.now).encode() in words or place.startswith(str(self.scene.now))
        return False

    def _deployctl(self, *words: str) -> None:
        argv = [sys.executable, "-m", "deployctl", "-c", str(self.scene.config), *words]
        self._start(argv, self._environment())

    def _start(
        self, argv: list[str], env: dict[str, str], body: bytes = b""
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv,
            cwd=self.scene.now,
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

    def _bury(self) -> None:
        self._running = [each for each in self._running if each.poll() is None]

    # what must be true

    def settle(self) -> Iterator[str]:
        """Wait for all that was begun, repair, and say what is not as it must be."""
        yield from self._wait()
        self._filler.unlink(missing_ok=True)
        self._take_promises()
        yield from self._to_the_end("unlock", "app")
        yield from self._to_the_end("run")
        yield from self._wait()
        yield from invariants.after_repair(self.scene)
        yield from self._promises_kept()
        before = invariants.snapshot(self.scene)
        yield from self._to_the_end("run")
        after = invariants.snapshot(self.scene)
        changed = [
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        ]
        if changed:
            yield f"I4: a second run changed {sorted(changed)}"
        yield from self._comes_round()

    def _wait(self) -> Iterator[str]:
        """Until nothing of this world runs any more."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            self._bury()
            if not self._running and not any(map(self._is_at_work, descendants())):
                reap()  # orphans are adopted here, and nobody else buries them
                return
            time.sleep(0.05)
        yield f"P6: still at work after {_PATIENCE:g} s"

    def _to_the_end(self, *words: str) -> Iterator[str]:
        argv = [sys.executable, "-m", "deployctl", "-c", str(self.scene.config), *words]
        done = subprocess.run(
            argv, check=False, capture_output=True, env=self._environment(), cwd=self.scene.now
        )
        if done.returncode != 0:
            yield f"{' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}"

    def _take_promises(self) -> None:
        for name, process in self._deliveries:
            output = process.stdout.read() if process.stdout else b""
            if process.stdout:
                process.stdout.close()
            if _ACCEPTED.search(output):
                self.promised.add(name)
        self._deliveries.clear()

    def _promises_kept(self) -> Iterator[str]:
        stored = {
            name
            for (name,) in self.scene.rows(
                "SELECT forge_id FROM deliveries JOIN deployments ON number = deployment"
            )
        }
        for name in sorted(self.promised - stored):
            yield f"I1: {name} was accepted and is lost"

    def _comes_round(self) -> Iterator[str]:
        """A good push without a delivery goes live by sync alone, whatever was before (P10)."""
        self.scene.push("")
        yield from self._to_the_end("sync")
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
    """Looks at what is live all the time: at no instant may there be half a release (I2, P4)."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self._scene = world.scene
        self._over = threading.Event()
        self.looks = 0
        self.seen: list[str] = []

    def run(self) -> None:
        while self._scene.strategy == "releases" and not self._over.wait(0.002):
            self.looks += 1
            self.seen += self._look()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _look(self) -> list[str]:
        current = self._scene.app / "current"
        try:
            link = os.readlink(current)
        except OSError:
            return ["P4: nothing is live"]
        release = self._scene.app / link
        found = {name: _first_line(release / name) for name in ("version", "built", "REVISION")}
        whole = (release / ".complete").exists() and None not in found.values()
        if whole and found["version"] == found["built"]:
            return []
        with contextlib.suppress(OSError):
            if os.readlink(current) != link:  # it was replaced while we looked
                return []
        return [f"P4: {link} is live with {found}"]


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def facts(world: World) -> dict[str, Any]:
    """What came of it, for the report."""
    rows = world.scene.rows("SELECT status, count(*) FROM deployments GROUP BY status")
    return {str(status): count for status, count in rows}
