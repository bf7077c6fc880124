"""What goes on when the power is cut, and what may be live then."""

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

WRITERS = (1, 2, 8, 16)
SICK = "test -s version && ! grep 3 version"


@dataclass
class Cut:
    """What had been promised when the power went, and which versions may be live after that.

    ``told`` is whether the end of a deployment had been; then ``after`` is what it ended with.
    """

    at: float = 0.0
    acknowledged: list[str] = field(default_factory=list)
    told: bool = False
    before: int = 2
    after: int = 3
    between: tuple[int, ...] = ()

    def allowed(self) -> tuple[int, ...]:
        return (self.after,) if self.told else (self.before, self.after, *self.between)


@dataclass(frozen=True)
class Scene:
    """``play`` ends with the cut; ``empty``: nothing was ever deployed before."""

    name: str
    play: Callable[[World, random.Random, float], Cut]
    strategy: str = "releases"
    empty: bool = False


def deliveries(world: World, rng: random.Random, lasts: float) -> Cut:
    """Many writers; the worker, which the first of them starts, deploys meanwhile."""
    return _cut_deliveries(world, rng.choice(WRITERS), rng.uniform(0.1, 1.5 * lasts))


def answered(world: World, rng: random.Random, lasts: float) -> Cut:
    """As soon as so many have their answer: nobody else has synced anything since."""
    return _cut_deliveries(world, 1, 20, rng.choice((1, 1, 2)))


def deployment(world: World, rng: random.Random, lasts: float) -> Cut:
    """At any moment of it."""
    return _cut_during(world, rng.uniform(0, lasts * 1.1), "deploy", "app")


def told(world: World, rng: random.Random, lasts: float) -> Cut:
    """As soon as it is said to be live."""
    return _cut_after(world, rng.uniform(0, 0.01), "deploy", "app")


def pruning(world: World, rng: random.Random, lasts: float) -> Cut:
    """It comes after the deployment has ended."""
    world.configure(keep_releases=1)
    return _cut_after(world, rng.uniform(0, 0.25), "deploy", "app")


def rollback(world: World, rng: random.Random, lasts: float) -> Cut:
    made = _cut_during(world, rng.uniform(0, lasts * 0.6), "rollback", "app")
    made.after = 1
    return made


def rollback_told(world: World, rng: random.Random, lasts: float) -> Cut:
    made = _cut_after(world, rng.uniform(0, 0.01), "rollback", "app")
    made.after = 1
    return made


def failing(world: World, rng: random.Random, lasts: float) -> Cut:
    """A release that does not answer is switched to and left again, or one is not even built."""
    if rng.random() < 0.5:
        world.configure(restart=SICK)
    else:
        world.configure(stages=[{"name": "build", "run": SICK}])
    if rng.random() < 0.5:
        made = _cut_during(world, rng.uniform(0, lasts * 1.3), "deploy", "app")
    else:
        made = _cut_after(world, rng.uniform(0, 0.01), "deploy", "app")
    made.after, made.between = 2, (3,)
    return made


SCENES = (
    Scene("delivery", deliveries),
    Scene("answered", answered),
    Scene("first delivery", deliveries, empty=True),
    Scene("first answered", answered, empty=True),
    Scene("deployment", deployment),
    Scene("first deployment", deployment, empty=True),
    Scene("told", told),
    Scene("pruning", pruning),
    Scene("rollback", rollback),
    Scene("rollback told", rollback_told),
    Scene("failing", failing),
    Scene("delivery in place", deliveries, "in_place"),
    Scene("deployment in place", deployment, "in_place"),
    Scene("first deployment in place", deployment, "in_place", empty=True),
    Scene("told in place", told, "in_place"),
    Scene("rollback in place", rollback, "in_place"),
    Scene("rollback told in place", rollback_told, "in_place"),
    Scene("failing in place", failing, "in_place"),
)


def _cut_deliveries(world: World, writers: int, seconds: float, enough: int = 100_000) -> Cut:
    answers: list[tuple[str, float]] = []
    stop = threading.Event()
    threads = [
        threading.Thread(target=_write, args=(world, answers, stop, f"{number}"))
        for number in range(writers)
    ]
    for thread in threads:
        thread.start()
    _wait(seconds, lambda: len(answers) >= enough, pause=0.0005)
    made = Cut(at=cut(world.disks))
    stop.set()
    end_processes()
    for thread in threads:
        thread.join()
    made.acknowledged = [number for number, stamp in answers if stamp < made.at]
    return made


def _write(world: World, answers: list[tuple[str, float]], stop: threading.Event, me: str) -> None:
    """One delivery after another through deploy.cgi, as a web server runs it."""
    count = 0
    while not stop.is_set():
        count += 1
        number = f"{me}-{count}-{time.monotonic_ns()}"
        status = post(world, number)
        if status == 202:
            answers.append((number, time.monotonic()))


def post(world: World, number: str) -> int | None:
    """-> the status that the forge sees; None where there was no answer."""
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


def _cgi(world: World, given: dict[str, str]) -> dict[str, str]:
    found = {"REQUEST_METHOD": "POST", "PATH_INFO": "", "GATEWAY_INTERFACE": "CGI/1.1"}
    found["DEPLOYCTL_CONFIG"] = str(world.config)
    for name, value in given.items():
        prefix = "" if name.startswith("content-") else "HTTP_"
        found[prefix + name.upper().replace("-", "_")] = value
    return found


def _cut_during(world: World, seconds: float, *words: str) -> Cut:
    said, process = _start(world, *words)
    _wait(seconds, lambda: process.poll() is not None, pause=0.002)
    return _cut(world, said, process)


def cut_run(world: World, rng: random.Random, lasts: float) -> None:
    """The power goes once more, while the first cut is being repaired."""
    _cut_during(world, rng.uniform(0.1, lasts), "run")


def _cut_after(world: World, seconds: float, *words: str) -> Cut:
    said, process = _start(world, *words)
    _wait(60, lambda: bool(said) or process.poll() is not None, pause=0.0005)
    time.sleep(seconds)
    return _cut(world, said, process)


def _cut(world: World, said: list[float], process: subprocess.Popen[bytes]) -> Cut:
    made = Cut(at=cut(world.disks))
    end_processes()
    process.wait()
    made.told = bool(said) and said[0] < made.at
    return made


def _start(world: World, *words: str) -> tuple[list[float], subprocess.Popen[bytes]]:
    """-> when it said how it ended, as soon as it does, and its process."""
    said: list[float] = []
    process = world.start(*words)

    def read() -> None:
        lines = process.stdout or ()
        said.extend(time.monotonic() for line in lines if re.match(rb"app #.* live", line))

    threading.Thread(target=read, daemon=True).start()
    return said, process


def _wait(seconds: float, done: Callable[[], bool], pause: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not done():
        time.sleep(pause)
