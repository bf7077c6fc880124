"""Run the fault sweep at all points or at every Nth, or check that it catches the mutants.

All points take about four hours on two cores; ``--every 60`` takes four minutes.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.conftest import ENVIRONMENT
from tests.support.modules import import_all
from tests.sweep import kernel
from tests.sweep.faults import KINDS, Fault
from tests.sweep.mutants import MUTANTS, Mutant
from tests.sweep.points import OPERATIONS, attempt, count
from tests.sweep.scene import Scene

_PROGRESS = 500  # points between two lines of progress
_STRATEGIES = ("releases", "in_place")


@dataclass(frozen=True)
class Point:
    """The Nth call of an operation, with a kind of fault."""

    strategy: str
    operation: str
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.strategy} {self.operation} {self.kind} at call {self.number}"


@dataclass
class Tally:
    """The results of all points with one strategy, operation and kind of fault."""

    points: int = 0
    tried: int = 0
    violated: int = 0


class Scenes:
    """The scenes of one worker process, each built when the first point needs it."""

    def __init__(self, directory: str, mutant: Mutant | None = None) -> None:
        self._directory = Path(tempfile.mkdtemp(dir=directory))
        self._mutant = mutant
        self._scenes: dict[str, Scene] = {}

    def get(self, strategy: str) -> Scene:
        """Return the scene for this strategy."""
        if strategy not in self._scenes:
            made = Scene(self._directory / strategy, strategy)
            made.build()
            made.mutate = self._mutant.patch if self._mutant else None
            self._scenes[strategy] = made
        return self._scenes[strategy]

    def calls(self, strategy: str, operation: str, kind: str) -> tuple[str, ...]:
        """Return the names of the calls at which this fault can be injected, in their order."""
        return count(self.get(strategy), OPERATIONS[operation], KINDS[kind]).calls

    def run(self, point: Point) -> tuple[Point, str, list[str]]:
        """Run the operation with the fault; return the point, the faulted call, and violations."""
        fault = Fault(KINDS[point.kind], point.number)
        try:
            result, violations = attempt(
                self.get(point.strategy), OPERATIONS[point.operation], fault
            )
        except Exception as error:  # noqa: BLE001 - go on with the other points
            return point, "", [f"the sweep itself failed: {error!r}"]
        return point, result.faulted_call or "", violations


_scenes: list[Scenes] = []  # of this worker process


def _start_worker(directory: str) -> None:
    _scenes[:] = [Scenes(directory)]


def _work(point: Point) -> tuple[Point, str, list[str]]:
    return _scenes[0].run(point)


def sweep(arguments: argparse.Namespace, directory: str) -> int:
    """Try the chosen points; return the exit code: 1 if there was a violation, else 0."""
    seed = arguments.seed if arguments.seed is not None else int(time.time())
    print(f"seed {seed}, every {arguments.every}", flush=True)
    choose = random.Random(seed)
    tallies: dict[tuple[str, str, str], Tally] = {}
    chosen: list[Point] = []
    planner = Scenes(directory)
    for combination in itertools.product(arguments.strategy, arguments.operation, arguments.kind):
        tallies[combination] = Tally(len(planner.calls(*combination)))
        first = choose.randint(1, arguments.every)
        numbers = range(first, tallies[combination].points + 1, arguments.every)
        chosen += [Point(*combination, number) for number in numbers]
    choose.shuffle(chosen)
    results: Iterator[tuple[Point, str, list[str]]]
    with ExitStack() as stack:
        if arguments.jobs == 1:
            results = map(planner.run, chosen)
        else:
            pool = multiprocessing.get_context("fork").Pool(
                arguments.jobs, _start_worker, (directory,)
            )
            results = stack.enter_context(pool).imap_unordered(_work, chosen)
        for done, (point, call, violations) in enumerate(results, start=1):
            if done % _PROGRESS == 0:
                print(f"{done} of {len(chosen)} points", flush=True)
            tally = tallies[point.strategy, point.operation, point.kind]
            _add_result(tally, point, call, violations)
    return _report(tallies)


def _add_result(tally: Tally, point: Point, call: str, violations: list[str]) -> None:
    tally.tried += 1
    if violations:
        tally.violated += 1
        lines = "\n".join(f"    {violation[:600]}" for violation in violations[:4])
        print(f"VIOLATION: {point} ({call})\n{lines}", flush=True)


def _report(tallies: dict[tuple[str, str, str], Tally]) -> int:
    print(f"{'strategy':10}{'operation':11}{'fault':9}{'points':>7}{'tried':>7}{'violations':>12}")
    total: Counter[str] = Counter()
    for (strategy, operation, kind), tally in tallies.items():
        print(
            f"{strategy:10}{operation:11}{kind:9}{tally.points:7}{tally.tried:7}{tally.violated:12}"
        )
        total.update(points=tally.points, tried=tally.tried, violated=tally.violated)
    print(f"{'all':30}{total['points']:7}{total['tried']:7}{total['violated']:12}")
    return 1 if total["violated"] else 0


def check_mutants(mutants: Iterable[Mutant], directory: str) -> int:
    """Run the sweep on each mutant; return the exit code: 1 if one was not caught, else 0."""
    return max([0 if _is_caught(mutant, Scenes(directory, mutant)) else 1 for mutant in mutants])


def _is_caught(mutant: Mutant, scenes: Scenes) -> bool:
    scene, operation = scenes.get("releases"), OPERATIONS[mutant.operation]
    kind = replace(KINDS["crash"], calls=mutant.calls or KINDS["crash"].calls)
    numbers = list(range(1, len(count(scene, operation, kind).calls) + 1))
    random.Random(mutant.name).shuffle(numbers)
    for tried, number in enumerate(numbers, start=1):
        result, violations = attempt(scene, operation, Fault(kind, number))
        found = next((each for each in violations if each.startswith(mutant.violation)), None)
        if found is not None:
            call = result.faulted_call
            print(f"{mutant.name}: caught at point {tried}, at {call}\n    {found[:200]}")
            return True
    print(f"{mutant.name}: ESCAPED {len(numbers)} points")
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try each Nth point")
    parser.add_argument("--seed", type=int, help="chooses the points of a sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--directory", help="where to work (default: that for temporary files)")
    parser.add_argument(
        "--mutants",
        nargs="*",
        choices=[*MUTANTS],
        help="check that these (or all) are caught",
    )
    for name, choices in (
        ("strategy", _STRATEGIES), ("operation", tuple(OPERATIONS)), ("kind", tuple(KINDS)),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", nargs="+", choices=choices, default=choices)
    arguments = parser.parse_args()
    obstacle = kernel.obstacle()
    if obstacle is not None:
        parser.error(obstacle)
    os.environ.update(ENVIRONMENT)
    import_all()
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=arguments.directory) as directory:
        if arguments.mutants is not None:
            return check_mutants(
                [MUTANTS[name] for name in arguments.mutants or MUTANTS], directory
            )
        return sweep(arguments, directory)


if __name__ == "__main__":
    sys.exit(main())
