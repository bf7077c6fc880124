"""Tests of the locks: one holder at a time, free after its death, independent of each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deployctl.system.locks import FileLock, Slot, mirror_lock, repo_lock, wait_for
from tests.support.paths import ROOT

HOLDER_PROGRAM = """
import sys, time
from deployctl.system.locks import FileLock
lock = FileLock(sys.argv[1])
assert lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "one.lock")


def test_a_lock_is_held_by_one_at_a_time(path: str) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    first.release()
    first.release()
    assert second.acquire()
    assert not first.acquire()
    second.release()


def test_a_lock_file_is_private_and_is_not_deleted(path: str) -> None:
    before = os.umask(0)
    try:
        with FileLock(path):
            pass
    finally:
        os.umask(before)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_with_block_waits_until_the_lock_is_free(path: str) -> None:
    first, order = FileLock(path), []
    first.acquire()

    def wait() -> None:
        with FileLock(path):
            order.append("second")

    waiting = threading.Thread(target=wait)
    waiting.start()
    order.append("first")
    first.release()
    waiting.join(10)
    assert order == ["first", "second"]


def test_a_lock_is_free_after_the_death_of_its_holder(path: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER_PROGRAM, path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    lock = FileLock(path)
    assert not lock.acquire()
    holder.kill()
    holder.communicate()
    assert lock.acquire()
    lock.release()


def test_a_started_command_does_not_inherit_the_lock(path: str) -> None:
    lock = FileLock(path)
    lock.acquire()
    command = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        lock.release()
        assert FileLock(path).acquire()
    finally:
        command.kill()
        command.wait()


def test_a_lock_in_a_missing_directory_is_an_error_and_leaves_no_file_open(
    tmp_path: Path,
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        FileLock(str(tmp_path / "missing" / "one.lock")).acquire()
    assert len(os.listdir("/proc/self/fd")) == before


def test_every_repo_and_every_mirror_has_a_lock_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    state = str(tmp_path)
    locks = [repo_lock(state, "a"), repo_lock(state, "b"), mirror_lock(state, "a")]
    assert all(lock.acquire() for lock in locks)
    assert not repo_lock(state, "a").acquire()
    for lock in locks:
        lock.release()
    assert sorted(os.listdir(tmp_path / "locks")) == [
        "mirror-a.lock",
        "repo-a.lock",
        "repo-b.lock",
    ]


def test_there_are_max_running_slots(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    slots = [Slot(str(tmp_path), 2) for _ in range(3)]
    assert [slot.acquire() for slot in slots] == [True, True, False]
    assert slots[0].acquire()
    slots[1].release()
    slots[1].release()
    assert slots[2].acquire()
    for slot in slots:
        slot.release()


def test_the_pauses_of_wait_for_grow_to_half_a_second() -> None:
    answers, pauses = iter([False] * 9 + [True]), list[float]()
    wait_for(lambda: next(answers), pause=0.1, sleep=pauses.append)
    assert pauses == pytest.approx([0.1, 0.15, 0.225, 0.3375, *[0.5] * 5])
