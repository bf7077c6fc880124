"""Steps that run in parallel, while they are being started."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployctl.deploy.journal import StageJournal
from deployctl.deploy.steps import StageContext, run_parallel
from deployctl.output.screen import Output
from deployctl.store.logs import LogFile
from deployctl.system.process import LastLines
from deployctl.values.masking import Masker


def test_an_interruption_before_the_last_step_has_begun_ends_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = ThreadPoolExecutor.submit
    begun: list[Future[Any]] = []

    def submit_one(pool: ThreadPoolExecutor, *call: Any) -> Future[Any]:
        if begun:
            raise KeyboardInterrupt  # as Python raises it between any two instructions
        begun.append(submit(pool, *call))
        return begun[0]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_one)
    stage = StageJournal("tests", LogFile(str(tmp_path / "log")), Output(), Masker(()), LastLines)
    context = StageContext(
        str(tmp_path), {"PATH": os.defpath}, "test", note_path=str(tmp_path / "note")
    )
    with pytest.raises(KeyboardInterrupt):
        run_parallel(stage, ["sleep 5; touch ended", "true"], context, retries=0)
    assert begun[0].done()
    assert not (tmp_path / "ended").exists()
