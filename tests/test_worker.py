from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deployctl import worker
from deployctl.environment import base_environment
from tests.support.workers import StubWorker, wait_until

STARTER = """
import sys
from deployctl import worker
worker.PACKAGE = sys.argv[1]
assert worker.start_worker(sys.argv[2])
print("started", flush=True)
sys.stdin.read()
children = open(f"/proc/self/task/{worker.os.getpid()}/children").read()
print("children:", children)
"""


def starter(stub: StubWorker) -> subprocess.Popen[str]:
    """A process of its own that starts the worker and stays until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(stub.package), "/etc/repos.yml"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_the_worker_is_run_with_the_config_by_the_same_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = StubWorker(tmp_path)
    monkeypatch.setattr(worker, "PACKAGE", str(stub.package))
    monkeypatch.chdir(tmp_path)
    assert worker.start_worker("repos.yml")
    report = stub.report()
    assert report["argv"] == ["--config", str(tmp_path / "repos.yml"), "run"]
    assert report["executable"] == sys.executable


def test_the_worker_is_tied_to_nothing_of_its_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = StubWorker(tmp_path)
    monkeypatch.setattr(worker, "PACKAGE", str(stub.package))
    read, write = os.pipe()
    os.set_inheritable(write, True)
    umask = os.umask(0o022)
    try:
        assert worker.start_worker("/etc/repos.yml")
        report = stub.report()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)
        os.close(read)
        os.close(write)
    assert report["files"] == [os.devnull] * 3
    assert (report["cwd"], report["umask"]) == ("/", 0o077)
    assert report["session"] != os.getsid(0)
    assert report["parent"] != os.getpid()


def test_nothing_of_the_callers_environment_reaches_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = StubWorker(tmp_path)
    monkeypatch.setattr(worker, "PACKAGE", str(stub.package))
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1")
    monkeypatch.setenv("PYTHONSTARTUP", "/tmp/evil.py")
    assert worker.start_worker("/etc/repos.yml")
    env = stub.report()["env"]
    env.pop("LC_CTYPE", None)  # Python's own, where the locale is C (PEP 538)
    assert env == {**base_environment(), "PYTHONPATH": str(stub.package.parent)}


def test_an_installed_package_needs_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PACKAGE", "/opt/venv/lib/python3.11/site-packages/deployctl")
    assert worker.worker_environment() == base_environment()


def test_the_worker_outlives_the_process_group_that_started_it(tmp_path: Path) -> None:
    stub = StubWorker(tmp_path, seconds=1)
    process = starter(stub)
    stub.report()
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    assert not stub.has_ended()
    wait_until(stub.has_ended)


def test_a_starter_that_lives_on_keeps_no_zombie(tmp_path: Path) -> None:
    stub = StubWorker(tmp_path)
    process = starter(stub)
    wait_until(stub.has_ended)
    assert process.communicate("", 10)[0] == "children: \n"


def test_a_worker_that_cannot_be_started_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert not worker.start_worker("/etc/repos.yml")


def test_a_machine_without_room_for_a_process_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    assert not worker.start_worker("/etc/repos.yml")
