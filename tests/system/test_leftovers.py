"""Tests that processes left by a dead deployctl process are ended, and no other processes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployctl.system.leftovers import (
    end_helpers,
    end_step,
    end_steps,
    lock_holder_note,
    marker_of_helpers,
    parallel_note_path,
    write_note,
)
from deployctl.system.locks import step_note_path
from deployctl.system.process_tree import MARKER, Identity, end_marked, identity
from tests.support.cli import is_running
from tests.support.workers import wait_until

# A step: its leader waits, one child stays in its process group, another one leaves it.
TREE = "sleep 60 & echo $!; setsid sleep 60 & echo $!; wait"


class Tree:
    """A running step: a leader and two children."""

    def __init__(self, script: str = TREE) -> None:
        self.marker = f"test-{uuid.uuid4().hex}"
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", MARKER: f"{self.marker}/build/1"},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.children = [int(self.process.stdout.readline()) for _ in range(2)]
        self.leader = identity(self.process.pid)

    @property
    def running(self) -> list[bool]:
        """Tell for the leader, the first and the second child whether it runs."""
        return [is_running(pid) for pid in (self.process.pid, *self.children)]

    def end(self) -> None:
        end_marked(self.marker)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree()
    yield tree
    tree.end()


@pytest.fixture
def note(tmp_path: Path) -> str:
    return str(tmp_path / "app.step")


def test_a_step_that_still_runs_is_ended_with_its_whole_tree(tree: Tree, note: str) -> None:
    write_note(note, tree.leader, f"{tree.marker}/build/1")
    end_step(note)
    assert tree.running == [False, False, False]


def test_parallel_steps_are_ended_and_those_of_a_repo_with_a_longer_name_are_not(
    tree: Tree, tmp_path: Path
) -> None:
    (tmp_path / "locks").mkdir()
    of_www, of_other = (step_note_path(str(tmp_path), name) for name in ("www", "www.step"))
    marker = f"{tree.marker}/build/1"
    write_note(of_other, tree.leader, marker)
    write_note(parallel_note_path(of_other, 1), tree.leader, marker)
    end_steps(of_www)
    assert tree.running == [True, True, True]
    write_note(parallel_note_path(of_www, 1), tree.leader, marker)
    end_steps(of_www)
    assert tree.running == [False, False, False]


def test_processes_that_a_finished_step_left_behind_are_not_ended(note: str) -> None:
    tree = Tree("sleep 60 & echo $!; setsid sleep 60 & echo $!")
    try:
        write_note(note, tree.leader, f"{tree.marker}/build/1")
        wait_until(lambda: not is_running(tree.process.pid))
        end_step(note)
        assert tree.running == [False, True, True]
    finally:
        tree.end()


@pytest.mark.parametrize(
    "change", [{"started": 1}, {"boot_id": "another boot"}], ids=["reused pid", "after a reboot"]
)
def test_another_process_with_the_pid_of_the_step_is_not_ended(
    tree: Tree, note: str, change: dict[str, int | str]
) -> None:
    other = Identity(**{**dataclasses.asdict(tree.leader), **change})
    write_note(note, other, f"{tree.marker}/build/1")
    end_step(note)
    assert tree.running == [True, True, True]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": 1}', '"text"'], ids=["empty", "torn", "list", "half", "text"]
)
def test_an_incomplete_note_ends_no_process(note: str, text: str) -> None:
    Path(note).write_text(text)
    end_step(note)


def test_a_note_that_cannot_be_written_is_no_error(tmp_path: Path, tree: Tree) -> None:
    write_note(str(tmp_path / "missing" / "note"), tree.leader, tree.marker)


def test_a_note_is_private_and_names_the_step(tree: Tree, note: str) -> None:
    write_note(note, tree.leader, "m")
    assert json.loads(Path(note).read_text()) == {**dataclasses.asdict(tree.leader), "marker": "m"}
    assert Path(note).stat().st_mode & 0o777 == 0o600


def test_the_helpers_of_a_dead_process_are_ended_unless_the_machine_was_rebooted() -> None:
    code = (
        "import os, time; from deployctl.system.process import run; "
        "from deployctl.system.process_tree import identity; import threading;"
        "threading.Thread(target=run, args=(['sleep', '60'],),"
        " kwargs={'env': {'PATH': '/usr/bin:/bin'}, 'timeout': 60}, daemon=True).start();"
        "time.sleep(60)"
    )
    runner = subprocess.Popen([sys.executable, "-c", code])
    try:
        runner_identity = identity(runner.pid)
        entry = f"{MARKER}={marker_of_helpers(runner_identity)}".encode()
        wait_until(lambda: bool(_pids_with(entry)))
        runner.kill()
        runner.wait()
        end_helpers(dataclasses.replace(runner_identity, boot_id="another boot"))
        assert len(_pids_with(entry)) == 1
        end_helpers(runner_identity)
        assert _pids_with(entry) == []
    finally:
        runner.kill()
        runner.wait()


def _pids_with(entry: bytes) -> list[int]:
    """Return the pids of the processes with this entry, ``b"NAME=value"``, in their environment."""
    pids = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if entry in environ.read_bytes().split(b"\0"):
                pids.append(int(environ.parent.name))
        except OSError:
            continue
    return pids


def test_the_helpers_of_a_running_process_are_not_ended() -> None:
    this_process = identity()
    helper = subprocess.Popen(
        ["sleep", "60"], env={"PATH": "/usr/bin:/bin", MARKER: marker_of_helpers(this_process)}
    )
    try:
        end_helpers(this_process)
        assert helper.poll() is None
    finally:
        helper.kill()
        helper.wait()


def test_the_helpers_of_a_dead_lock_holder_are_ended_by_the_next_holder(tmp_path: Path) -> None:
    note = tmp_path / "holder"
    holder = subprocess.Popen(["sleep", "60"])
    holder_identity = identity(holder.pid)
    holder.kill()
    holder.wait()
    helper = subprocess.Popen(
        ["sleep", "60"], env={"PATH": "/usr/bin:/bin", MARKER: marker_of_helpers(holder_identity)}
    )
    write_note(str(note), holder_identity, "")
    with lock_holder_note(str(note)):
        assert helper.wait() == -9
        assert json.loads(note.read_text())["pid"] == identity().pid
    assert not note.exists()
