"""Cut the power at random times, check the disks, repair with deployctl, and check once more.

    sudo .venv/bin/python -m tests.powercut [ROUNDS] [--mutants ROUNDS] [--seed N]

The scenes are played one after the other. --short plays only two scenes and one mutant, chosen by
the seed; --scene plays only that one.
Needs root, loop devices, e2fsprogs and util-linux. The exit code is 1 if there was a violation, or
if a mutant, which is deployctl with a mistake, was not caught in its rounds.
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
INIT = ("sh", "-c", '"$@"; exit $?', "sh")  # process 1 of the namespace, which waits for orphans
# The environment variable that names the process namespace of the caller.
OUTSIDE = "POWERCUT_OUTSIDE"


def obstacle() -> str | None:
    """Return why power cuts cannot be simulated on this machine, or None if they can."""
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


class Player:
    """Plays scenes, and counts the results; it keeps a world for each strategy and number of disks.

    Each world has copies of its disks as they were before any cut: empty, and with two releases.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.worlds: dict[tuple[str, int], World] = {}
        self.durations: dict[tuple[str, int], float] = {}
        self.counts: dict[str, Counter[str]] = {scene.name: Counter() for scene in SCENES}

    def play(self, scene: Scene, disks: int, seed: int, program: Path = ROOT) -> list[str]:
        """Play one round with this program, and return all violations.

        ``program`` is the directory that contains the package deployctl.
        """
        rng = random.Random(seed)
        world = self._world(scene.strategy, disks)
        duration = self.durations[scene.strategy, disks]
        world.use(program)
        world.configure()
        with self._mounted(world, "empty" if scene.empty else "base"):
            cut = scene.play(world, rng, duration)
            if scene.empty:
                cut.before = 0
            found = self._check(world, cut)
            cuts = 1
            if rng.random() < 0.3 and not found:
                cut_run(world, rng, duration)
                cuts += 1
                found += self._check(world, cut)
            found += self._repair(world, cut)
        self.counts[scene.name].update(
            rounds=1,
            cuts=cuts,
            acknowledged=len(cut.acknowledged),
            reported=cut.reported,
            wrong=bool(found),
        )
        return found

    def _check(self, world: World, cut: Cut) -> list[str]:
        """Mount the disks after a cut, and return all violations before anything is repaired."""
        for disk in world.disks:
            disk.unmount()
        found = [problem for disk in world.disks for problem in disk.check()]
        allowed = [world.revisions[number] for number in cut.allowed()]
        reported = cut.reported
        return found + invariants.after_the_cut(world, cut.acknowledged, allowed, reported=reported)

    def _repair(self, world: World, cut: Cut) -> list[str]:
        """Let ``deployctl run`` repair, and return all violations after that."""
        try:
            world.deployctl("run")
            final = (cut.after,) if cut.reported or cut.acknowledged else cut.allowed()
            found = invariants.after_the_repair(
                world, [world.revisions[number] for number in final]
            )
            found += invariants.changes_of_another_run(world)
            return found + (invariants.history(world) if found else [])
        except (AssertionError, OSError) as error:
            return [f"the repair failed: {error}"]

    @contextlib.contextmanager
    def _mounted(self, world: World, which: str) -> Iterator[None]:
        """Mount fresh copies of the disks, ``empty`` or ``base``, until the block is left."""
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
            self.durations[strategy, disks] = self._prepare(world)
        return self.worlds[strategy, disks]

    def _prepare(self, world: World) -> float:
        """Make the copies of the disks; return how many seconds a deployment takes."""
        for disk in world.disks:
            disk.make()
            shutil.copyfile(disk.image, f"{disk.image}.empty")
        with self._mounted(world, "empty"):
            world.push()
            world.deployctl("deploy", "app")
            world.push()
            began = time.monotonic()
            world.deployctl("deploy", "app")
            duration = time.monotonic() - began
        for disk in world.disks:
            disk.image.rename(f"{disk.image}.base")
        world.push()
        return duration


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
        command = (*INIT, sys.executable, "-m", "tests.powercut", *sys.argv[1:])
        os.execvp(NAMESPACES[0], [*NAMESPACES, *command])
    assert os.readlink("/proc/self/ns/pid") != os.environ[OUTSIDE], "not in a namespace of its own"
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        os.environ |= {f"{name}_NAME": "Power", f"{name}_EMAIL": "power@example.org"}
    with tempfile.TemporaryDirectory(prefix="powercut-") as name:
        player = Player(Path(name))
        scenes, chosen = _sample(options.seed) if options.short else (SCENES, mutants.MUTANTS)
        scenes = [scene for scene in SCENES if scene.name == options.scene] or scenes
        rounds = len(scenes) if options.short else options.rounds
        wrong = _play_scenes(player, scenes, rounds, options.seed)
        missed = _play_mutants(player, chosen, options.mutants, options.seed)
    return 1 if wrong or missed else 0


def _sample(seed: int) -> tuple[Sequence[Scene], Sequence[mutants.Mutant]]:
    """Choose two scenes and a mutant of one strategy: the disks of one take a while to prepare."""
    rng = random.Random(seed)
    strategy = rng.choice(("releases", "in_place"))
    scenes = {scene.name: scene for scene in SCENES if scene.strategy == strategy}
    fitting = [mutant for mutant in mutants.MUTANTS if mutant.scene in scenes]
    return rng.sample([*scenes.values()], 2), rng.sample(fitting, 1)


def _play_scenes(player: Player, scenes: Sequence[Scene], rounds: int, seed: int) -> int:
    """Play the scenes one after the other; return the number of rounds with a violation."""
    for number, scene in zip(range(rounds), itertools.cycle(scenes)):
        disks = 2 - (number // len(scenes)) % 2
        for violation in player.play(scene, disks, seed + number):
            place = f"{scene.name}, {disks} disks, seed {seed + number}"
            print(f"VIOLATION {place}: {violation}", flush=True)
    columns = ("rounds", "cuts", "acknowledged", "reported", "wrong")
    print(f"{'scene':<28}" + "".join(f"{column:>14}" for column in columns))
    for name, counts in player.counts.items():
        print(f"{name:<28}" + "".join(f"{counts[column]:>14}" for column in columns))
    total = sum(player.counts.values(), Counter[str]())
    print(f"{'all':<28}" + "".join(f"{total[column]:>14}" for column in columns), flush=True)
    return total["wrong"]


def _play_mutants(player: Player, chosen: Sequence[mutants.Mutant], rounds: int, seed: int) -> int:
    """Play each mutant until it is caught; return the number of those that were not caught."""
    missed = 0
    for mutant in chosen if rounds else ():
        program = mutants.make(mutant, player.directory)
        scene = next(scene for scene in SCENES if scene.name == mutant.scene)
        for number in range(rounds):
            violations = player.play(scene, 2, seed + number, program)
            caught = next((each for each in violations if each.startswith(mutant.violation)), None)
            if caught is not None:
                print(f"caught in round {number + 1}: {mutant.name}: {caught}", flush=True)
                break
        else:
            missed += 1
            print(f"NOT CAUGHT in {rounds} rounds: {mutant.name}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
