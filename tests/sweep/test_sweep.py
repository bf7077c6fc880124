"""Run a sample of the fault sweep, and its mutants; ``python -m tests.sweep`` tries all points."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweep import kernel
from tests.sweep.mutants import MUTANTS
from tests.sweep.points import OPERATIONS

EVERY = 300  # a sample, which finds regressions: all points were tried by hand


def sweep(directory: Path, *words: str) -> str:
    """Run the sweep, assert that it found no violation, and return its output."""
    obstacle = kernel.obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)
    done = subprocess.run(
        [sys.executable, "-m", "tests.sweep", "--jobs", "1", "--directory", str(directory), *words],
        check=False,
        capture_output=True,
        env=os.environ,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.parametrize("strategy", ["releases", "in_place"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_fault_anywhere_is_repaired_by_the_next_run(
    tmp_path: Path, strategy: str, operation: str
) -> None:
    every = "60" if operation in ("accept", "prune") else str(EVERY)
    words = ("--every", every, "--strategy", strategy, "--operation", operation)
    _, points, tried, violations = sweep(tmp_path, *words).splitlines()[-1].split()
    assert int(points) > int(tried) > 0
    assert violations == "0"


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_sweep_catches_the_mutant(tmp_path: Path, mutant: str) -> None:
    assert f"{mutant}: caught at point" in sweep(tmp_path, "--mutants", mutant)
