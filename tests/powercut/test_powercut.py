"""What was promised outlives a power cut: a few of the rounds of ``python -m tests.powercut``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.powercut.__main__ import obstacle


def test_what_was_promised_outlives_a_power_cut_and_a_mutant_does_not(tmp_path: Path) -> None:
    reason = obstacle()
    if reason is not None:
        pytest.skip(f"no power cut can be made: {reason}")
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
