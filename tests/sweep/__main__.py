"""``python -m tests.sweep``: all points, every Nth, or the mutants: each of them must be caught.

All points take about four hours on two cores; ``--every 60`` four minutes.
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
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import git  # noqa: F401 - loaded once here and not in each of some thousand processes

import deployctl.cli  # noqa: F401
from tests.conftest import ENVIRONMENT
from tests.sweep import kernel
from tests.sweep.faults import KINDS, Fault
from tests.sweep.mutants import MUTANTS, Mutant
from tests.sweep.points import OPERATIONS, attempt, count
from tests.sweep.scene import Scene

_PROGRESS = 500  # points
_STRATEGIES = ("releases", "in_place")


@dataclass(frozen=True)
class Task:
    """One point: the Nth call of an operation."""

    strategy: str
    operation: str
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.strategy} {self.operation} {self.kind} at call {self.number}"


@dataclass
class Tally:
    """What came of the points of one operation and kind."""

    points: int = 0
    tried: int = 0
    violated: int = 0
    examples: list[str] = field(default_factory=list)


class Bench:
    """A process's own scenes, built when the first task wants them."""

    def __init__(self, directory: str, mutant: Mutant | None = None) -> None:
        self._directory = Path(tempfile.mkdtemp(dir=directory))
        self._mutant = mutant
        self._scenes: dict[str, Scene] = {}

    def scene(self, strategy: str) -> Scene:
        if strategy not in self._scenes:
            made = Scene(self._directory / strategy, strategy)
            made.build()
            made.mutate = self._mutant.patch if self._mutant else None
            self._scenes[strategy] = made
        return self._scenes[strategy]

    def calls(self, strategy: str, operation: str, kind: str) -> tuple[str, ...]:
        """Those at which the fault can strike, in their order."""
        return count(self.scene(strategy), OPERATIONS[operation], KINDS[kind]).calls

    def try_out(self, task: Task) -> tuple[Task, str, list[str]]:
        fault = Fault(KINDS[task.kind], task.number)
        try:
            ran, violations = attempt(self.scene(task.strategy), OPERATIONS[task.operation], fault)
        except Exception as error:  # noqa: BLE001 - a sweep that stops at one point tries no other
            return task, "", [f"the sweep itself failed: {error!r}"]
        return task, ran.struck or "", violations


_benches: list[Bench] = []  # of this process


def _start_worker(directory: str) -> None:
    _benches[:] = [Bench(directory)]


def _work(task: Task) -> tuple[Task, str, list[str]]:
    return _benches[0].try_out(task)


def sweep(arguments: argparse.Namespace, directory: str) -> int:
    """Try the points -> 1 where something was not as it must be."""
    seed = arguments.seed if arguments.seed is not None else int(time.time())
    print(f"seed {seed}, every {arguments.every}", flush=True)
    choose = random.Random(seed)
    tallies: dict[tuple[str, str, str], Tally] = {}
    tasks: list[Task] = []
    planner = Bench(directory)
    for which in itertools.product(arguments.strategy, arguments.operation, arguments.kind):
        tallies[which] = Tally(len(planner.calls(*which)))
        first = choose.randint(1, arguments.every)
        tasks += [Task(*which, n) for n in range(first, tallies[which].points + 1, arguments.every)]
    choose.shuffle(tasks)
    context = multiprocessing.get_context("fork")
    with context.Pool(arguments.jobs, _start_worker, (directory,)) as pool:
        results = pool.imap_unordered(_work, tasks)
        for done, (task, struck, violations) in enumerate(results, start=1):
            if done % _PROGRESS == 0:
                print(f"{done} of {len(tasks)} points", flush=True)
            _note(tallies[task.strategy, task.operation, task.kind], task, struck, violations)
    return _report(tallies)


def _note(tally: Tally, task: Task, struck: str, violations: list[str]) -> None:
    tally.tried += 1
    if violations:
        tally.violated += 1
        told = "\n".join(f"    {each[:600]}" for each in violations[:4])
        print(f"VIOLATION: {task} ({struck})\n{told}", flush=True)


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


def hunt(mutants: Iterable[Mutant], directory: str) -> int:
    """Each mutant must be caught -> 1 where one was not."""
    return max([0 if _is_caught(mutant, Bench(directory, mutant)) else 1 for mutant in mutants])


def _is_caught(mutant: Mutant, bench: Bench) -> bool:
    scene, operation = bench.scene("releases"), OPERATIONS[mutant.operation]
    kind = replace(KINDS["crash"], calls=mutant.calls or KINDS["crash"].calls)
    numbers = list(range(1, len(count(scene, operation, kind).calls) + 1))
    random.Random(mutant.name).shuffle(numbers)
    for tried, number in enumerate(numbers, start=1):
        ran, violations = attempt(scene, operation, Fault(kind, number))
        shown = next((each for each in violations if each.startswith(mutant.shows)), None)
        if shown is not None:
            print(f"{mutant.name}: caught at point {tried}, at {ran.struck}\n    {shown[:200]}")
            return True
    print(f"{mutant.name}: ESCAPED {len(numbers)} points")
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try each Nth point")
    parser.add_argument("--seed", type=int, help="which points of a sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--directory", help="where to work (default: the system's for such files)")
    parser.add_argument(
        "--mutants", nargs="*", choices=[*MUTANTS], help="see that mistakes are caught"
    )
    for name, known in (
        ("strategy", _STRATEGIES), ("operation", tuple(OPERATIONS)), ("kind", tuple(KINDS)),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", nargs="+", choices=known, default=known)
    arguments = parser.parse_args()
    obstacle = kernel.why_not()
    if obstacle is not None:
        parser.error(obstacle)
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=arguments.directory) as directory:
        if arguments.mutants is not None:
            return hunt([MUTANTS[name] for name in arguments.mutants or MUTANTS], directory)
        return sweep(arguments, directory)


if __name__ == "__main__":
    sys.exit(main())
