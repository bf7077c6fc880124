"""Run a few rounds of ``python -m tests.powercut``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.powercut.__main__ import obstacle


def test_acknowledged_work_survives_power_cuts_and_a_mutant_is_caught(tmp_path: Path) -> None:
    reason = obstacle()
    if reason is not None:
        pytest.skip(f"power cuts cannot be simulated: {reason}")
    command = [sys.executable, "-m", "tests.powercut", "--short"]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "VIOLATION" not in done.stdout
    assert "caught in round" in done.stdout
