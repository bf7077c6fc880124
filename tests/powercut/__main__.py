"""Cut the power at random moments, look, repair, look again.

    sudo .venv/bin/python -m tests.powercut [ROUNDS] [--mutants ROUNDS] [--seed N]

--short tries two scenes and one mutant, chosen by the seed, and not all in turn; --scene tries
one of them.
Needs root, loop devices, e2fsprogs and util-linux. Exit code 1 where something that was promised
was lost, or where a mutant, which loses on purpose, got through its rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.powercut import invariants, mutants
from tests.powercut.disk import TOOLS, call
from tests.powercut.scenes import SCENES, Cut, Scene, cut_run
from tests.powercut.world import World, end_processes
from tests.support.paths import ROOT

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
INIT = ("sh", "-c", '"$@"; exit $?', "sh")  # process 1 there, which buries the orphans
OUTSIDE = "POWERCUT_OUTSIDE"


def obstacle() -> str | None:
    """Why there can be no power cut here; None where there can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"{missing[0]} is missing (e2fsprogs, util-linux)"
    with tempfile.TemporaryDirectory() as name:
        script = "truncate -s 8M i && mkfs.ext4 -q -F i && mkdir m && mount -o loop i m && umount m"
        done = subprocess.run(
            [*NAMESPACES, "sh", "-c", script], cwd=name, check=False, capture_output=True, text=True
        )
    return None if done.returncode == 0 else f"no loop mount here: {done.stderr.strip()}"


class Laboratory:
    """The worlds of one run, each with its disks as they were before anything was cut."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.worlds: dict[tuple[str, int], World] = {}
        self.lasts: dict[tuple[str, int], float] = {}
        self.counts: dict[str, Counter[str]] = {scene.name: Counter() for scene in SCENES}

    def play(self, scene: Scene, disks: int, seed: int, program: Path = ROOT) -> list[str]:
        """One round -> what was found to be wrong."""
        rng = random.Random(seed)
        world = self._world(scene.strategy, disks)
        lasts = self.lasts[scene.strategy, disks]
        world.use(program)
        world.configure()
        with self._mounted(world, "empty" if scene.empty else "base"):
            made = scene.play(world, rng, lasts)
            if scene.empty:
                made.before = 0
            found = self._look(world, made)
            cuts = 1
            if rng.random() < 0.3 and not found:
                cut_run(world, rng, lasts)
                cuts += 1
                found += self._look(world, made)
            found += self._repair(world, made)
        self.counts[scene.name].update(
            rounds=1,
            cuts=cuts,
            acknowledged=len(made.acknowledged),
            told=made.told,
            wrong=bool(found),
        )
        return found

    def _look(self, world: World, made: Cut) -> list[str]:
        for disk in world.disks:
            disk.unmount()
        found = [said for disk in world.disks for said in disk.complaints()]
        allowed = [world.revisions[number] for number in made.allowed()]
        return found + invariants.after_the_cut(world, made.acknowledged, allowed, told=made.told)

    def _repair(self, world: World, made: Cut) -> list[str]:
        try:
            world.deployctl("run")
            final = (made.after,) if made.told or made.acknowledged else made.allowed()
            found = invariants.after_the_repair(
                world, [world.revisions[number] for number in final]
            )
            found += invariants.changes_of_another_run(world)
            return found + (invariants.history(world) if found else [])
        except (AssertionError, OSError) as error:
            return [f"the repair failed: {error}"]

    @contextlib.contextmanager
    def _mounted(self, world: World, which: str) -> Iterator[None]:
        for disk in world.disks:
            call("cp", "--sparse=always", f"{disk.image}.{which}", str(disk.image))
            disk.mount()
        try:
            yield
        finally:
            end_processes()
            for disk in world.disks:
                disk.unmount()

    def _world(self, strategy: str, disks: int) -> World:
        if (strategy, disks) not in self.worlds:
            directory = self.directory / f"{strategy}-{disks}"
            directory.mkdir()
            self.worlds[strategy, disks] = world = World(directory, ROOT, strategy, disks)
            self.lasts[strategy, disks] = self._prepare(world)
        return self.worlds[strategy, disks]

    def _prepare(self, world: World) -> float:
        """Empty disks, and such with two releases on them -> how long a deployment takes."""
        for disk in world.disks:
            disk.make()
            shutil.copyfile(disk.image, f"{disk.image}.empty")
        with self._mounted(world, "empty"):
            world.push()
            world.deployctl("deploy", "app")
            world.push()
            began = time.monotonic()
            world.deployctl("deploy", "app")
            lasts = time.monotonic() - began
        for disk in world.disks:
            disk.image.rename(f"{disk.image}.base")
        world.push()
        return lasts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=100)
    parser.add_argument("--mutants", type=int, default=20, metavar="ROUNDS")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--scene", choices=[scene.name for scene in SCENES])
    options = parser.parse_args()
    if OUTSIDE not in os.environ:
        reason = obstacle()
        if reason is not None:
            raise SystemExit(reason)
        os.environ[OUTSIDE] = os.readlink("/proc/self/ns/pid")
        again = (*INIT, sys.executable, "-m", "tests.powercut", *sys.argv[1:])
        os.execvp(NAMESPACES[0], [*NAMESPACES, *again])
    assert os.readlink("/proc/self/ns/pid") != os.environ[OUTSIDE], "no namespace of our own"
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        os.environ |= {f"{name}_NAME": "Power", f"{name}_EMAIL": "power@example.org"}
    with tempfile.TemporaryDirectory(prefix="powercut-") as name:
        laboratory = Laboratory(Path(name))
        scenes, chosen = _sample(options.seed) if options.short else (SCENES, mutants.MUTANTS)
        scenes = [scene for scene in SCENES if scene.name == options.scene] or scenes
        rounds = len(scenes) if options.short else options.rounds
        wrong = _product(laboratory, scenes, rounds, options.seed)
        lived = _mutants(laboratory, chosen, options.mutants, options.seed)
    return 1 if wrong or lived else 0


def _sample(seed: int) -> tuple[Sequence[Scene], Sequence[mutants.Mutant]]:
    """Two scenes and a mutant of one strategy, as its disks take a while to prepare."""
    chance = random.Random(seed)
    strategy = chance.choice(("releases", "in_place"))
    scenes = {scene.name: scene for scene in SCENES if scene.strategy == strategy}
    fitting = [mutant for mutant in mutants.MUTANTS if mutant.scene in scenes]
    return chance.sample([*scenes.values()], 2), chance.sample(fitting, 1)


def _product(laboratory: Laboratory, scenes: Sequence[Scene], rounds: int, seed: int) -> int:
    """Every scene in turn -> how many rounds found something."""
    for number, scene in zip(range(rounds), itertools.cycle(scenes)):
        disks = 2 - (number // len(scenes)) % 2
        for said in laboratory.play(scene, disks, seed + number):
            print(
                f"VIOLATION {scene.name}, {disks} disks, seed {seed + number}: {said}", flush=True
            )
    columns = ("rounds", "cuts", "acknowledged", "told", "wrong")
    print(f"{'scene':<28}" + "".join(f"{column:>14}" for column in columns))
    for name, counts in laboratory.counts.items():
        print(f"{name:<28}" + "".join(f"{counts[column]:>14}" for column in columns))
    total = sum(laboratory.counts.values(), Counter[str]())
    print(f"{'all':<28}" + "".join(f"{total[column]:>14}" for column in columns), flush=True)
    return total["wrong"]


def _mutants(
    laboratory: Laboratory, chosen: Sequence[mutants.Mutant], rounds: int, seed: int
) -> int:
    """-> how many were not caught."""
    lived = 0
    for mutant in chosen if rounds else ():
        program = mutants.make(mutant, laboratory.directory)
        scene = next(scene for scene in SCENES if scene.name == mutant.scene)
        for number in range(rounds):
            found = laboratory.play(scene, 2, seed + number, program)
            said = next((each for each in found if each.startswith(mutant.loses)), None)
            if said is not None:
                print(f"caught in round {number + 1}: {mutant.name}: {said}", flush=True)
                break
        else:
            lived += 1
            print(f"NOT CAUGHT in {rounds} rounds: {mutant.name}", flush=True)
    return lived


if __name__ == "__main__":
    sys.exit(main())
