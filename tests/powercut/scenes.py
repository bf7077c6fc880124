"""Scenes: an operation during which the power is cut, and the revisions that may be live then."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.powercut.disk import cut
from tests.powercut.world import World, end_processes
from tests.support.deliveries import headers, push

SENDERS = (1, 2, 8, 16)
FAILS_FOR_VERSION_3 = "test -s version && ! grep 3 version"


@dataclass
class Cut:
    """A power cut: what had been promised until then, and the versions that may be live afterwards.

    ``at`` is its time.monotonic(); ``acknowledged`` are ids of deliveries answered 202 before it;
    ``reported`` tells whether deployctl had reported the end of the deployment. Versions are
    indexes of the world's revisions, 0: none is live. ``before`` and ``after`` are those before and
    after the operation, ``between`` others that are live during it.
    """

    at: float = 0.0
    acknowledged: list[str] = field(default_factory=list)
    reported: bool = False
    before: int = 2
    after: int = 3
    between: tuple[int, ...] = ()

    def allowed(self) -> tuple[int, ...]:
        """Return the versions that may be live."""
        return (self.after,) if self.reported else (self.before, self.after, *self.between)


@dataclass(frozen=True)
class Scene:
    """An operation and a power cut.

    ``play`` ends with the cut; its last argument is how many seconds a deployment takes.
    ``empty``: the disks are empty at the start, else two versions were deployed.
    """

    name: str
    play: Callable[[World, random.Random, float], Cut]
    strategy: str = "releases"
    empty: bool = False


def deliveries(world: World, rng: random.Random, duration: float) -> Cut:
    """Cut while several senders deliver, and the worker deploys what they deliver."""
    return _cut_deliveries(world, rng.choice(SENDERS), rng.uniform(0.1, 1.5 * duration))


def answered(world: World, rng: random.Random, duration: float) -> Cut:
    """Cut as soon as one or two deliveries are answered: no later sync can have saved them."""
    return _cut_deliveries(world, 1, 20, rng.choice((1, 1, 2)))


def deployment(world: World, rng: random.Random, duration: float) -> Cut:
    """Cut at any time during a deployment."""
    return _cut_during(world, rng.uniform(0, duration * 1.1), "deploy", "app")


def reported(world: World, rng: random.Random, duration: float) -> Cut:
    """Cut as soon as deployctl reports that the revision is live."""
    return _cut_after(world, rng.uniform(0, 0.01), "deploy", "app")


def pruning(world: World, rng: random.Random, duration: float) -> Cut:
    """Cut after a deployment, while old releases are removed."""
    world.configure(keep_releases=1)
    return _cut_after(world, rng.uniform(0, 0.25), "deploy", "app")


def rollback(world: World, rng: random.Random, duration: float) -> Cut:
    """Cut at any time during a rollback."""
    result = _cut_during(world, rng.uniform(0, duration * 0.6), "rollback", "app")
    result.after = 1
    return result


def rollback_reported(world: World, rng: random.Random, duration: float) -> Cut:
    """Cut as soon as deployctl reports that the earlier revision is live."""
    result = _cut_after(world, rng.uniform(0, 0.01), "rollback", "app")
    result.after = 1
    return result


def failing(world: World, rng: random.Random, duration: float) -> Cut:
    """Cut during or after a deployment that fails: in a stage, or in restart and so rolls back."""
    if rng.random() < 0.5:
        world.configure(restart=FAILS_FOR_VERSION_3)
    else:
        world.configure(stages=[{"name": "build", "run": FAILS_FOR_VERSION_3}])
    if rng.random() < 0.5:
        result = _cut_during(world, rng.uniform(0, duration * 1.3), "deploy", "app")
    else:
        result = _cut_after(world, rng.uniform(0, 0.01), "deploy", "app")
    result.after, result.between = 2, (3,)
    return result


SCENES = (
    Scene("delivery", deliveries),
    Scene("answered", answered),
    Scene("first delivery", deliveries, empty=True),
    Scene("first answered", answered, empty=True),
    Scene("deployment", deployment),
    Scene("first deployment", deployment, empty=True),
    Scene("reported", reported),
    Scene("pruning", pruning),
    Scene("rollback", rollback),
    Scene("rollback reported", rollback_reported),
    Scene("failing", failing),
    Scene("delivery in place", deliveries, "in_place"),
    Scene("deployment in place", deployment, "in_place"),
    Scene("first deployment in place", deployment, "in_place", empty=True),
    Scene("reported in place", reported, "in_place"),
    Scene("rollback in place", rollback, "in_place"),
    Scene("rollback reported in place", rollback_reported, "in_place"),
    Scene("failing in place", failing, "in_place"),
)


def _cut_deliveries(world: World, senders: int, seconds: float, enough: int = 100_000) -> Cut:
    """Deliver, and cut after so many seconds or answers, whichever comes first."""
    answers: list[tuple[str, float]] = []
    stop = threading.Event()
    threads = [
        threading.Thread(target=_send, args=(world, answers, stop, f"{number}"))
        for number in range(senders)
    ]
    for thread in threads:
        thread.start()
    _wait(seconds, lambda: len(answers) >= enough, pause=0.0005)
    result = Cut(at=cut(world.disks))
    stop.set()
    end_processes()
    for thread in threads:
        thread.join()
    result.acknowledged = [id_ for id_, at in answers if at < result.at]
    return result


def _send(world: World, answers: list[tuple[str, float]], stop: threading.Event, me: str) -> None:
    """Send one delivery after the other to deploy.cgi; note id and time of each answer 202."""
    count = 0
    while not stop.is_set():
        count += 1
        number = f"{me}-{count}-{time.monotonic_ns()}"
        status = post(world, number)
        if status == 202:
            answers.append((number, time.monotonic()))


def post(world: World, number: str) -> int | None:
    """Run deploy.cgi for one delivery; return the HTTP status, or None if it did not answer."""
    body = json.dumps(push()).encode()
    done = subprocess.run(
        [sys.executable, str(world.program / "deploy.cgi")],
        check=False,
        capture_output=True,
        input=body,
        env={
            **world.env,
            **_cgi(world, headers(body, number=number)),
            "DEPLOYCTL_CONFIG": str(world.config),
        },
    )
    first = done.stdout.split(b"\r\n", 1)[0].split()
    return int(first[1]) if first[:1] == [b"Status:"] else None


def _cgi(world: World, http_headers: dict[str, str]) -> dict[str, str]:
    variables = {"REQUEST_METHOD": "POST", "PATH_INFO": "", "GATEWAY_INTERFACE": "CGI/1.1"}
    variables["DEPLOYCTL_CONFIG"] = str(world.config)
    for name, value in http_headers.items():
        prefix = "" if name.startswith("content-") else "HTTP_"
        variables[prefix + name.upper().replace("-", "_")] = value
    return variables


def _cut_during(world: World, seconds: float, *words: str) -> Cut:
    """Start a command, and cut after so many seconds, or at its end if that comes first."""
    reports, process = _start(world, *words)
    _wait(seconds, lambda: process.poll() is not None, pause=0.002)
    return _cut(world, reports, process)


def cut_run(world: World, rng: random.Random, duration: float) -> None:
    """Cut the power once more, during the ``deployctl run`` that repairs the first cut."""
    _cut_during(world, rng.uniform(0.1, duration), "run")


def _cut_after(world: World, seconds: float, *words: str) -> Cut:
    """Start a command, and cut so many seconds after it has reported what is live."""
    reports, process = _start(world, *words)
    _wait(60, lambda: bool(reports) or process.poll() is not None, pause=0.0005)
    time.sleep(seconds)
    return _cut(world, reports, process)


def _cut(world: World, reports: list[float], process: subprocess.Popen[bytes]) -> Cut:
    result = Cut(at=cut(world.disks))
    end_processes()
    process.wait()
    result.reported = bool(reports) and reports[0] < result.at
    return result


def _start(world: World, *words: str) -> tuple[list[float], subprocess.Popen[bytes]]:
    """Start a command; return its process, and a list that gets the time of its report."""
    reports: list[float] = []
    process = world.start(*words)

    def read() -> None:
        lines = process.stdout or ()
        reports.extend(time.monotonic() for line in lines if re.match(rb"app #.* live", line))

    threading.Thread(target=read, daemon=True).start()
    return reports, process


def _wait(seconds: float, done: Callable[[], bool], pause: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not done():
        time.sleep(pause)
