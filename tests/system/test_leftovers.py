"""What a dead runner left at work is ended, and nobody else is."""

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
    marker_of_helpers,
    noted_holder,
    write_note,
)
from deployctl.system.process_tree import MARKER, Identity, end_marked, identity
from tests.support.cli import is_running
from tests.support.workers import wait_until

# A step: its leader waits, one child stays in the group, another got away from it.
TREE = "sleep 60 & echo $!; setsid sleep 60 & echo $!; wait"


class Tree:
    """A step as it runs: a leader and two children."""

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
    def living(self) -> list[bool]:
        return [is_running(pid) for pid in (self.process.pid, *self.children)]

    def end(self) -> None:
        end_marked(self.marker)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def tree() -> Iterator[Tree]:
    made = Tree()
    yield made
    made.end()


@pytest.fixture
def note(tmp_path: Path) -> str:
    return str(tmp_path / "app.step")


def test_a_step_that_still_runs_is_ended_with_its_whole_tree(tree: Tree, note: str) -> None:
    write_note(note, tree.leader, f"{tree.marker}/build/1")
    end_step(note)
    assert tree.living == [False, False, False]


def test_what_a_step_that_has_ended_left_behind_stays(note: str) -> None:
    tree = Tree("sleep 60 & echo $!; setsid sleep 60 & echo $!")
    try:
        write_note(note, tree.leader, f"{tree.marker}/build/1")
        wait_until(lambda: not is_running(tree.process.pid))
        end_step(note)
        assert tree.living == [False, True, True]
    finally:
        tree.end()


@pytest.mark.parametrize(
    "change", [{"started": 1}, {"boot_id": "another boot"}], ids=["reused pid", "after a reboot"]
)
def test_a_stranger_with_the_pid_of_the_step_lives_on(
    tree: Tree, note: str, change: dict[str, int | str]
) -> None:
    stranger = Identity(**{**dataclasses.asdict(tree.leader), **change})
    write_note(note, stranger, f"{tree.marker}/build/1")
    end_step(note)
    assert tree.living == [True, True, True]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": 1}', '"text"'], ids=["empty", "torn", "list", "half", "text"]
)
def test_a_note_that_was_not_written_to_its_end_ends_nothing(note: str, text: str) -> None:
    Path(note).write_text(text)
    end_step(note)


def test_a_note_that_cannot_be_written_is_no_error(tmp_path: Path, tree: Tree) -> None:
    write_note(str(tmp_path / "missing" / "note"), tree.leader, tree.marker)


def test_a_note_is_private_and_names_the_step(tree: Tree, note: str) -> None:
    write_note(note, tree.leader, "m")
    assert json.loads(Path(note).read_text()) == {**dataclasses.asdict(tree.leader), "marker": "m"}
    assert Path(note).stat().st_mode & 0o777 == 0o600


def test_the_git_of_a_dead_process_is_ended_unless_the_machine_was_restarted() -> None:
    code = (
        "import os, time; from deployctl.system.process import run; "
        "from deployctl.system.process_tree import identity; import threading;"
        "threading.Thread(target=run, args=(['sleep', '60'],),"
        " kwargs={'env': {'PATH': '/usr/bin:/bin'}, 'timeout': 60}, daemon=True).start();"
        "time.sleep(60)"
    )
    runner = subprocess.Popen([sys.executable, "-c", code])
    try:
        who = identity(runner.pid)
        helpers = f"{MARKER}={marker_of_helpers(who)}".encode()
        wait_until(lambda: bool(_carrying(helpers)))
        runner.kill()
        runner.wait()
        end_helpers(dataclasses.replace(who, boot_id="another boot"))
        assert len(_carrying(helpers)) == 1
        end_helpers(who)
        assert _carrying(helpers) == []
    finally:
        runner.kill()
        runner.wait()


def _carrying(entry: bytes) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if entry in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


def test_the_git_of_a_process_that_lives_goes_on() -> None:
    mine = identity()
    git = subprocess.Popen(
        ["sleep", "60"], env={"PATH": "/usr/bin:/bin", MARKER: marker_of_helpers(mine)}
    )
    try:
        end_helpers(mine)
        assert git.poll() is None
    finally:
        git.kill()
        git.wait()


def test_the_git_of_a_holder_that_died_is_ended_by_the_next_one(tmp_path: Path) -> None:
    note = tmp_path / "holder"
    dead = subprocess.Popen(["sleep", "60"])
    who = identity(dead.pid)
    dead.kill()
    dead.wait()
    git = subprocess.Popen(
        ["sleep", "60"], env={"PATH": "/usr/bin:/bin", MARKER: marker_of_helpers(who)}
    )
    write_note(str(note), who, "")
    with noted_holder(str(note)):
        assert git.wait() == -9
        assert json.loads(note.read_text())["pid"] == identity().pid
    assert not note.exists()
