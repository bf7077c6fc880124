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

STARTER = """
import sys
from deployctl.system import wake
wake.PACKAGE = sys.argv[1]
assert wake.start_worker(sys.argv[2], "/nonexistent")
print("started", flush=True)
sys.stdin.read()
children = open(f"/proc/self/task/{wake.os.getpid()}/children").read()
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
    monkeypatch.setattr(wake, "PACKAGE", str(stub.package))
    monkeypatch.chdir(tmp_path)
    assert wake.start_worker("repos.yml", "/nonexistent")
    report = stub.report()
    assert report["argv"] == ["--config", str(tmp_path / "repos.yml"), "run"]
    assert report["executable"] == sys.executable


def test_the_worker_is_tied_to_nothing_of_its_starter(
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
    env.pop("LC_CTYPE", None)  # Python's own, where the locale is C (PEP 538)
    assert env == {**base_environment(), "PYTHONPATH": str(stub.package.parent)}


def test_an_installed_package_needs_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "PACKAGE", "/opt/venv/lib/python3.11/site-packages/deployctl")
    assert wake.worker_environment() == base_environment()


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
    assert not wake.start_worker("/etc/repos.yml", "/nonexistent")


def test_a_machine_without_room_for_a_process_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    assert not wake.start_worker("/etc/repos.yml", "/nonexistent")


# ---- who is woken by a delivery -------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> str:
    place = tmp_path / "state"
    (place / "locks").mkdir(parents=True)
    return str(place)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The file that each worker inherited, in the place of its start."""
    found: list[int | None] = []

    def spawn(_argv: list[str], _env: dict[str, str], *, inherit: int | None = None) -> bool:
        found.append(inherit)
        return True

    monkeypatch.setattr(wake, "spawn_detached", spawn)
    return found


def wake_up(state: str) -> bool:
    return wake.wake_worker("/etc/repos.yml", (), state, "app")


def test_a_delivery_starts_a_worker_that_holds_the_wake_lock(
    state: str, started: list[int | None]
) -> None:
    assert wake_up(state)
    assert len(started) == 1
    assert started[0] is not None


def test_none_is_started_while_one_that_was_started_has_not_looked(
    state: str, started: list[int | None]
) -> None:
    with locks.wake_lock(state):
        assert wake_up(state)
    assert started == []
    assert wake_up(state)
    assert len(started) == 1


def test_none_is_started_while_a_deployment_of_the_repo_runs(
    state: str, started: list[int | None]
) -> None:
    with locks.repo_lock(state, "other"):
        wake_up(state)
    assert len(started) == 1
    with locks.repo_lock(state, "app"):
        assert wake_up(state)
    assert len(started) == 1


def test_a_burst_starts_one_worker_until_that_looks(tmp_path: Path, state: str) -> None:
    """A real worker's process: it holds the lock from its start until it is about to look."""
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
    again = locks.wake_lock(state)
    assert again.acquire()
    again.release()
    (pid,) = [pid for pid in os.listdir("/proc") if pid.isdigit() and _is(pid, str(tmp_path))]
    os.kill(int(pid), signal.SIGKILL)


def _is(pid: str, word: str) -> bool:
    try:
        return word in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return False


# ---- by which way ---------------------------------------------------------------------------


def test_where_a_path_unit_answers_a_file_is_all_that_is_left_for_it(
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
def test_a_path_unit_that_left_a_file_is_not_waited_for(
    state: str, started: list[int | None], ago: int
) -> None:
    wake_dir = Path(state) / "wake"
    wake_dir.mkdir()
    (wake_dir / "now").touch()
    left = time.time() - ago
    os.utime(wake_dir / "now", (left, left))
    assert wake_up(state)
    assert wake.start_worker("/etc/repos.yml", state)
    assert [inherited is not None for inherited in started] == [True, False]
    assert (wake_dir / "now").stat().st_mtime == pytest.approx(left), "it tells since when"


def test_what_the_file_is_put_into_may_not_be_a_link(
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
    """The account's own systemd, as the file system shows it; there is none that would answer."""
    who = environment.account()
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / who.user).touch()
    (tmp_path / "runtime" / str(who.uid) / "systemd").mkdir(parents=True)
    monkeypatch.setattr(wake, "LINGER", str(tmp_path / "linger"))
    monkeypatch.setattr(wake, "RUNTIME", str(tmp_path / "runtime"))
    monkeypatch.setattr(wake, "SYSTEMD_RUN", str(tmp_path / "systemd-run"))
    return tmp_path / "runtime" / str(who.uid)


def stand_in(tmp_path: Path, runtime: Path, then: str) -> Path:
    """A program in the place of systemd-run, which needs a systemd: it notes its words."""
    log, program = tmp_path / "words", tmp_path / "systemd-run"
    program.write_text(SYSTEMD_RUN.format(runtime=runtime, log=log, then=then))
    program.chmod(0o755)
    return log


def test_a_systemd_that_lingers_is_asked_for_a_scope(
    tmp_path: Path, state: str, lingering: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wake lock goes through, and nobody else keeps it; the environment is the same."""
    stub = StubWorker(tmp_path, seconds=1)
    monkeypatch.setattr(wake, "PACKAGE", str(stub.package))
    log = stand_in(tmp_path, lingering, 'exec "$@"')
    assert wake_up(state)
    report = stub.report()
    ours = [sys.executable, "-m", "deployctl", "--config", "/etc/repos.yml", "run"]
    assert log.read_text().splitlines() == [
        *("--user", "--scope", "--collect", "--quiet", "--"),
        *("/usr/bin/env", "-u", "XDG_RUNTIME_DIR", *ours),
    ]
    assert report["files"] == [os.devnull] * 3 + [f"{state}/locks/wake.lock"]
    report["env"].pop("LC_CTYPE", None)
    report["env"].pop("PWD", None)  # that of the stand-in's shell
    report["env"].pop("OLDPWD", None)
    path = {"PYTHONPATH": str(stub.package.parent), wake.WAKE_FD: "3"}
    assert report["env"] == {**base_environment(), **path}
    wait_until(stub.has_ended)
    wait_until(lambda: locks.wake_lock(state).acquire())


@pytest.mark.parametrize("then", ["exit 1", None])
def test_where_it_gives_none_the_worker_runs_all_the_same(
    tmp_path: Path,
    state: str,
    lingering: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: str | None,
) -> None:
    stub = StubWorker(tmp_path)
    monkeypatch.setattr(wake, "PACKAGE", str(stub.package))
    if then:
        stand_in(tmp_path, lingering, then)
    assert wake_up(state)
    report = stub.report()
    held = [] if then else [f"{state}/locks/wake.lock"]
    assert report["files"] == [os.devnull] * 3 + held
    assert report["env"].get(wake.WAKE_FD) == (None if then else "3")
    assert "XDG_RUNTIME_DIR" not in report["env"]


def test_one_that_ends_with_the_last_login_is_not_asked(lingering: Path, tmp_path: Path) -> None:
    assert wake.method_without_unit() == "scope"
    (tmp_path / "linger" / environment.account().user).unlink()
    assert wake.method_without_unit() == "session"


@pytest.mark.parametrize("value", ["", "x", "99", "-1"])
def test_a_variable_of_somebody_else_closes_nothing(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    closed: list[int] = []
    monkeypatch.setenv(wake.WAKE_FD, value)
    monkeypatch.setattr(os, "close", closed.append)
    wake.release_wake_lock()
    assert closed == []
