from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployctl.system import environment, locks, wake
from deployctl.system.environment import base_environment
from tests.support.paths import ROOT
from tests.support.workers import StubWorker, wait_until

STARTER_PROGRAM = """
import sys
from deployctl.system import wake
wake.PACKAGE = sys.argv[1]
assert wake.start_worker(sys.argv[2], "/nonexistent")
print("started", flush=True)
sys.stdin.read()
children = open(f"/proc/self/task/{wake.os.getpid()}/children").read()
print("children:", children)
"""


def run_starter(stub: StubWorker) -> subprocess.Popen[str]:
    """Run a process that starts the worker and ends when its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER_PROGRAM, str(stub.package), "/etc/repos.yml"],
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
    monkeypatch.setattr(wake, "PACKAGE", str(stub.package))
    monkeypatch.chdir(tmp_path)
    assert wake.start_worker("repos.yml", "/nonexistent")
    report = stub.report()
    assert report["argv"] == ["--config", str(tmp_path / "repos.yml"), "run"]
    assert report["executable"] == sys.executable


def test_the_worker_has_its_own_session_directory_umask_and_no_files_of_its_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = StubWorker(tmp_path)
    monkeypatch.setattr(wake, "PACKAGE", str(stub.package))
    read, write = os.pipe()
    os.set_inheritable(write, True)
    umask = os.umask(0o022)
    try:
        assert wake.start_worker("/etc/repos.yml", "/nonexistent")
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
    monkeypatch.setattr(wake, "PACKAGE", str(stub.package))
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1")
    monkeypatch.setenv("PYTHONSTARTUP", "/tmp/evil.py")
    assert wake.start_worker("/etc/repos.yml", "/nonexistent")
    env = stub.report()["env"]
    env.pop("LC_CTYPE", None)  # Python sets it if the locale is C (PEP 538)
    assert env == {**base_environment(), "PYTHONPATH": str(stub.package.parent)}


def test_the_worker_of_an_installed_package_gets_no_pythonpath(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wake, "PACKAGE", "/opt/venv/lib/python3.11/site-packages/deployctl")
    assert wake.worker_environment() == base_environment()


def test_the_worker_outlives_the_process_group_that_started_it(tmp_path: Path) -> None:
    stub = StubWorker(tmp_path, seconds=1)
    process = run_starter(stub)
    stub.report()
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    assert not stub.has_ended()
    wait_until(stub.has_ended)


def test_a_starter_that_keeps_running_has_no_zombie_child(tmp_path: Path) -> None:
    stub = StubWorker(tmp_path)
    process = run_starter(stub)
    wait_until(stub.has_ended)
    assert process.communicate("", 10)[0] == "children: \n"


def test_start_worker_returns_false_if_the_program_does_not_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert not wake.start_worker("/etc/repos.yml", "/nonexistent")


def test_start_worker_returns_false_if_fork_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    assert not wake.start_worker("/etc/repos.yml", "/nonexistent")


# ---- When a delivery starts a worker ---------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> str:
    directory = tmp_path / "state"
    (directory / "locks").mkdir(parents=True)
    return str(directory)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Instead of starting workers, keep the file that each of them would have inherited."""
    inherited: list[int | None] = []

    def spawn(_argv: list[str], _env: dict[str, str], *, inherit: int | None = None) -> bool:
        inherited.append(inherit)
        return True

    monkeypatch.setattr(wake, "spawn_detached", spawn)
    return inherited


def wake_up(state: str) -> bool:
    return wake.wake_worker("/etc/repos.yml", (), state, "app")


def test_a_delivery_starts_a_worker_that_holds_the_wake_lock(
    state: str, started: list[int | None]
) -> None:
    assert wake_up(state)
    assert len(started) == 1
    assert started[0] is not None


def test_no_worker_is_started_until_the_previous_one_has_read_the_queue(
    state: str, started: list[int | None]
) -> None:
    with locks.wake_lock(state):
        assert wake_up(state)
    assert started == []
    assert wake_up(state)
    assert len(started) == 1


def test_no_worker_is_started_while_a_deployment_of_the_repo_runs(
    state: str, started: list[int | None]
) -> None:
    with locks.repo_lock(state, "other"):
        wake_up(state)
    assert len(started) == 1
    with locks.repo_lock(state, "app"):
        assert wake_up(state)
    assert len(started) == 1


def test_a_worker_holds_the_wake_lock_until_it_is_about_to_read_the_queue(
    tmp_path: Path, state: str
) -> None:
    """With a real process, which holds the lock from its start on."""
    code = (
        "import os, sys, time\nfrom deployctl.system import wake\n"
        "open(sys.argv[1] + '/began', 'w').close()\n"
        "while not os.path.exists(sys.argv[1] + '/look'): time.sleep(0.01)\n"
        "wake.release_wake_lock()\n"
        "open(sys.argv[1] + '/looks', 'w').close()\n"
        "time.sleep(20)\n"
    )
    held = locks.wake_lock(state)
    assert held.acquire()
    env = {**wake.worker_environment(), wake.WAKE_FD: "3", "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", code, str(tmp_path)]
    assert wake.spawn_detached(argv, env, inherit=held.fd)
    held.release()
    wait_until((tmp_path / "began").exists)
    assert not locks.wake_lock(state).acquire()
    (tmp_path / "look").touch()
    wait_until((tmp_path / "looks").exists)
    lock = locks.wake_lock(state)
    assert lock.acquire()
    lock.release()
    pids = filter(str.isdigit, os.listdir("/proc"))
    (pid,) = [pid for pid in pids if _has_argument(pid, str(tmp_path))]
    os.kill(int(pid), signal.SIGKILL)


def _has_argument(pid: str, argument: str) -> bool:
    try:
        return argument in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return False


# ---- In which way a worker is started --------------------------------------------------------


def test_with_an_active_path_unit_a_file_is_written_and_no_process_started(
    state: str, started: list[int | None]
) -> None:
    wake_dir = Path(state) / "wake"
    wake_dir.mkdir()
    for _ in range(2):
        assert wake_up(state)
        assert [(path.name, path.stat().st_mode & 0o777) for path in wake_dir.iterdir()] == [
            ("now", 0o600)
        ]
    assert wake.start_worker("/etc/repos.yml", state)
    assert started == []


@pytest.mark.parametrize("ago", [60, -60])
def test_with_an_inactive_path_unit_a_process_is_started(
    state: str, started: list[int | None], ago: int
) -> None:
    wake_dir = Path(state) / "wake"
    wake_dir.mkdir()
    (wake_dir / "now").touch()
    written_at = time.time() - ago
    os.utime(wake_dir / "now", (written_at, written_at))
    assert wake_up(state)
    assert wake.start_worker("/etc/repos.yml", state)
    assert [file is not None for file in started] == [True, False]
    assert (wake_dir / "now").stat().st_mtime == pytest.approx(written_at), "its age must remain"


def test_a_symlink_in_place_of_the_wake_file_is_not_followed(
    tmp_path: Path, state: str, started: list[int | None]
) -> None:
    (Path(state) / "wake").mkdir()
    (Path(state) / "wake" / "now").symlink_to(tmp_path / "elsewhere")
    assert wake_up(state)
    assert len(started) == 1
    assert not (tmp_path / "elsewhere").exists()


SYSTEMD_RUN = """#!/bin/sh
[ "$XDG_RUNTIME_DIR" = {runtime} ] || exit 9
printf '%s\\n' "$@" >{log}
while [ "$1" != -- ]; do shift; done
shift
{then}
"""


@pytest.fixture
def lingering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that show a lingering systemd of this account, which does not run; its runtime dir."""
    current = environment.current_account()
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / current.user).touch()
    (tmp_path / "runtime" / str(current.uid) / "systemd").mkdir(parents=True)
    monkeypatch.setattr(wake, "LINGER_DIR", str(tmp_path / "linger"))
    monkeypatch.setattr(wake, "RUNTIME_ROOT", str(tmp_path / "runtime"))
    monkeypatch.setattr(wake, "SYSTEMD_RUN", str(tmp_path / "systemd-run"))
    return tmp_path / "runtime" / str(current.uid)


def fake_systemd_run(tmp_path: Path, runtime: Path, then: str) -> Path:
    """Write a program in the place of systemd-run, which needs a systemd; return its log.

    It writes its arguments to the log, one per line, and then runs the shell code ``then``.
    """
    log, program = tmp_path / "arguments", tmp_path / "systemd-run"
    program.write_text(SYSTEMD_RUN.format(runtime=runtime, log=log, then=then))
    program.chmod(0o755)
    return log


def test_with_lingering_the_worker_is_started_in_a_scope(
    tmp_path: Path, state: str, lingering: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has the usual environment, and it alone holds the wake lock."""
    stub = StubWorker(tmp_path, seconds=1)
    monkeypatch.setattr(wake, "PACKAGE", str(stub.package))
    log = fake_systemd_run(tmp_path, lingering, 'exec "$@"')
    assert wake_up(state)
    report = stub.report()
    command = [sys.executable, "-m", "deployctl", "--config", "/etc/repos.yml", "run"]
    assert log.read_text().splitlines() == [
        *("--user", "--scope", "--collect", "--quiet", "--"),
        *("/usr/bin/env", "-u", "XDG_RUNTIME_DIR", *command),
    ]
    assert report["files"] == [os.devnull] * 3 + [f"{state}/locks/wake.lock"]
    report["env"].pop("LC_CTYPE", None)
    report["env"].pop("PWD", None)  # set by the shell of the fake systemd-run
    report["env"].pop("OLDPWD", None)
    added = {"PYTHONPATH": str(stub.package.parent), wake.WAKE_FD: "3"}
    assert report["env"] == {**base_environment(), **added}
    wait_until(stub.has_ended)
    wait_until(lambda: locks.wake_lock(state).acquire())


@pytest.mark.parametrize("then", ["exit 1", None])
def test_if_no_scope_can_be_created_the_worker_is_started_without_one(
    tmp_path: Path,
    state: str,
    lingering: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: str | None,
) -> None:
    stub = StubWorker(tmp_path)
    monkeypatch.setattr(wake, "PACKAGE", str(stub.package))
    if then:
        fake_systemd_run(tmp_path, lingering, then)
    assert wake_up(state)
    report = stub.report()
    held = [] if then else [f"{state}/locks/wake.lock"]
    assert report["files"] == [os.devnull] * 3 + held
    assert report["env"].get(wake.WAKE_FD) == (None if then else "3")
    assert "XDG_RUNTIME_DIR" not in report["env"]


def test_without_lingering_no_scope_is_used(lingering: Path, tmp_path: Path) -> None:
    assert wake.method_without_unit() == "scope"
    (tmp_path / "linger" / environment.current_account().user).unlink()
    assert wake.method_without_unit() == "session"


@pytest.mark.parametrize("value", ["", "x", "99", "-1"])
def test_an_invalid_wake_fd_variable_closes_no_file(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    closed: list[int] = []
    monkeypatch.setenv(wake.WAKE_FD, value)
    monkeypatch.setattr(os, "close", closed.append)
    wake.release_wake_lock()
    assert closed == []
