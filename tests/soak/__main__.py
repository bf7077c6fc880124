"""Run the soak test for so many minutes; the exit code is 1 if there was a violation.

As root each strategy gets a small disk of its own (tmpfs), which is filled from time to time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ENVIRONMENT
from tests.soak.world import Visitor, World, statuses
from tests.sweep.faults import adopt_orphans, kill_descendants, reap

_DISK_SIZE = "96m"


@contextlib.contextmanager
def _disk(directory: Path) -> Iterator[None]:
    """Make the directory; as root mount a small tmpfs on it until the block is left."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_SIZE},mode=700", "soak", str(directory)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


def soak(directory: Path, minutes: float, seed: int) -> int:
    """Run rounds until the time is over, and return the number of violations."""
    adopt_orphans()
    choose = random.Random(seed)
    violations = rounds = 0
    with contextlib.ExitStack() as stack:
        stack.callback(reap)
        stack.callback(kill_descendants)
        worlds = []
        for strategy in ("releases", "in_place"):
            stack.enter_context(_disk(directory / strategy))
            upstream = directory / f"{strategy}-upstream"  # not on the disk that is filled
            upstream.mkdir()
            worlds.append(World(directory / strategy, upstream, strategy, choose))
        deadline = time.monotonic() + 60 * minutes
        while time.monotonic() < deadline:
            rounds += 1
            for world in worlds:
                found = _round(world, choose)
                violations += len(found)
                for violation in found:
                    print(f"VIOLATION in round {rounds}, {world.scene.strategy}: {violation[:900]}")
            if rounds % 10 == 0:
                print(f"{rounds} rounds, {violations} violations", flush=True)
        stack.callback(_report, worlds, rounds, violations)
    return violations


def _round(world: World, choose: random.Random) -> list[str]:
    """Do some random actions, wait for their end, and return all violations."""
    visitor = Visitor(world)
    visitor.start()
    for _ in range(choose.randint(5, 25)):
        world.act()
        time.sleep(choose.expovariate(6))
    found = list(world.settle())
    visitor.stop()
    world.done["visit"] += visitor.visits
    return [*found, *dict.fromkeys(visitor.violations)]


def _report(worlds: list[World], rounds: int, violations: int) -> None:
    for world in worlds:
        print(f"{world.scene.strategy}:")
        print("  done:", ", ".join(f"{name} {count}" for name, count in world.done.most_common()))
        print(f"  deliveries accepted: {len(world.accepted)}")
        print("  deployments:", ", ".join(f"{name} {n}" for name, n in statuses(world).items()))
    print(f"{rounds} rounds, {violations} violations", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    print(f"seed {arguments.seed}", flush=True)
    # SIGTERM must unmount the disks before the process ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        return 1 if soak(Path(directory), arguments.minutes, arguments.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
