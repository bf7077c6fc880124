"""Tests of the limits on what stages use of the machine.

systemd cannot run where the tests run. A script stands in for systemd-run: it executes the command
in its own place, as the real one does with --scope. A plain file stands in for the kernel's file
with the memory limit.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from deployctl.check import programs
from deployctl.deploy.limits import Limits, Systemd, limits_of
from deployctl.system.process import StepOutcome
from deployctl.values.repo import Config, Repo
from tests.support.app import App
from tests.support.cli import wait_for_end

GB = 1024**3
SYSTEMD_RUN = """#!/bin/sh
echo "$XDG_RUNTIME_DIR|$*" >>{log}
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


class Machine:
    """A machine on which systemd seems to run, with a stand-in for systemd-run."""

    def __init__(self, directory: Path, limit: str = str(GB)) -> None:
        self.log = directory / "systemd-run.log"
        run = directory / "systemd-run"
        run.write_text(SYSTEMD_RUN.format(log=self.log))
        run.chmod(0o755)
        own = next(
            line.partition("::")[2]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        )
        cgroup = directory / f"cgroups{own}"
        cgroup.mkdir(parents=True, exist_ok=True)
        (cgroup / "memory.max").write_text(f"{limit}\n")
        self.systemd = Systemd(str(run), str(directory), str(directory / "cgroups"))


def repo(**keys: Any) -> Repo:
    return Repo("app", "/srv/app.git", "/srv/app", **keys)


PRINT_PRIORITY = "echo $(nice) $(ionice) >>{}/priorities"


def test_stages_run_with_low_priority_and_restart_and_health_check_do_not(app: App) -> None:
    run = PRINT_PRIORITY.format(app.directory)
    app.configure(
        stages=[
            {"name": "a", "run": run},
            {"name": "b", "run": ["sh", "-c", run]},
            {"name": "c", "parallel": [["true"], run]},
        ],
        restart=run,
        healthcheck={"command": run, "stable_for": 0},
        nice=7,
        ionice="best-effort 6",
    )
    app.release("1")
    priorities = (app.directory / "priorities").read_text().splitlines()
    assert priorities[:3] == ["7 best-effort: prio 6"] * 3
    assert {line.partition(" ")[0] for line in priorities[3:]} == {"0"}
    assert len(priorities) == 5


@pytest.mark.parametrize(
    ("run", "code", "message"),
    [
        (["no-such", "x"], 127, "exit code 127: command not found"),
        (["./version"], 126, "exit code 126: not executable"),
        (["sh", "-c", "exit 3"], 3, "exit code 3"),
        ("exit 4", 4, "exit code 4"),
    ],
)
def test_a_step_with_limits_ends_like_any_other(
    app: App, run: str | list[str], code: int, message: str
) -> None:
    app.configure(stages=[{"name": "a", "run": run}], nice=3, ionice="idle")
    app.push("1")
    failure = app.deploy(code=1)["failure"]
    assert failure["exit_code"] == code
    assert failure["message"].startswith(f"step 1 failed: {message}")


def test_after_a_timeout_the_whole_process_tree_of_a_limited_step_is_ended(app: App) -> None:
    run = "setsid sleep 60 & echo $! > ../../pid; wait"
    app.configure(stages=[{"name": "a", "run": run, "timeout": 0.3}], nice=3)
    app.push("1")
    assert app.deploy(code=1)["failure"]["timed_out"]
    wait_for_end(int((app.path / "pid").read_text()))


def test_the_warning_that_memory_cannot_be_limited_is_logged_once(app: App) -> None:
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs here")
    app.configure(stages=[{"name": "a", "run": "true"}, {"name": "b", "run": "true"}], memory="1G")
    app.release("1")
    lines = app.cli("logs", "1").stdout.splitlines()
    warning = "warning: no memory limit: systemd does not run here"
    assert [line for line in lines if "memory" in line] == [warning]


@pytest.mark.skipif(os.geteuid() != 0, reason="asks the systemd of the system as root does")
def test_systemd_run_is_called_for_a_scope_with_the_memory_limit(tmp_path: Path) -> None:
    machine, warnings = Machine(tmp_path), list[str]()
    limits = limits_of(repo(memory=GB, nice=4), warnings.append, machine.systemd)
    assert warnings == []
    nice, *words = limits.prefix
    assert (os.path.basename(nice), words[:2]) == ("nice", ["-n", "4"])
    assert words[2:] == [
        *(machine.systemd.run, "--scope", "--collect", "--quiet"),
        *("-p", f"MemoryMax={GB}", "-p", "MemorySwapMax=0", "--"),
    ]
    assert limits.wrap("make")[-4:] == ("/bin/sh", "-eu", "-c", "make")
    assert limits.wrap(("make", "x"))[-6:] == ("/bin/sh", "-c", 'exec "$@"', "sh", "make", "x")


def test_an_account_uses_its_own_systemd_and_the_command_does_not_get_xdg_runtime_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path)
    monkeypatch.setattr("deployctl.deploy.limits.runtime_dir", lambda: "/run/user/1000")
    monkeypatch.setattr("deployctl.deploy.limits.os.geteuid", lambda: 1000)
    limits = limits_of(repo(memory=GB), list[str]().append, machine.systemd)
    assert limits.prefix == (
        *("/usr/bin/env", "XDG_RUNTIME_DIR=/run/user/1000", machine.systemd.run, "--user"),
        *("--scope", "--collect", "--quiet"),
        *("-p", f"MemoryMax={GB}", "-p", "MemorySwapMax=0", "--"),
        *("/usr/bin/env", "-u", "XDG_RUNTIME_DIR"),
    )
    assert machine.log.read_text().startswith("/run/user/1000|--user --scope")
    monkeypatch.setattr("deployctl.deploy.limits.runtime_dir", lambda: None)
    warnings: list[str] = []
    assert limits_of(repo(memory=GB), warnings.append, machine.systemd) == Limits()
    assert warnings == ["warning: no memory limit: this account's own systemd does not run alone"]


@pytest.mark.skipif(os.geteuid() != 0, reason="asks the systemd of the system as root does")
def test_a_memory_limit_that_the_kernel_does_not_enforce_is_left_out(tmp_path: Path) -> None:
    warnings: list[str] = []
    machine = Machine(tmp_path, limit="max")
    assert limits_of(repo(memory=GB), warnings.append, machine.systemd) == Limits()
    (tmp_path / "systemd-run").write_text("#!/bin/sh\necho Failed to connect to bus >&2; exit 1\n")
    assert limits_of(repo(memory=GB), warnings.append, machine.systemd) == Limits()
    assert warnings == [
        "warning: no memory limit: systemd sets none for it",
        "warning: no memory limit: systemd-run: Failed to connect to bus",
    ]


@pytest.mark.parametrize(
    ("outcome", "hint"),
    [
        (StepOutcome(None, "SIGKILL"), "was memory: 1G too little?"),
        (StepOutcome(None, "SIGTERM"), "was memory: 1G too little?"),
        (StepOutcome(137), "was memory: 1G too little?"),
        (StepOutcome(None, "SIGSEGV"), ""),
        (StepOutcome(1), ""),
    ],
)
def test_a_step_that_the_memory_limit_may_have_killed_has_a_hint(
    outcome: StepOutcome, hint: str
) -> None:
    assert Limits(("x",), GB).hint(outcome) == hint
    assert Limits(("x",)).hint(outcome) == ""
    assert StepOutcome(None, "SIGKILL", hint="was it?").describe() == "killed by SIGKILL; was it?"


@pytest.mark.skipif(os.geteuid() != 0, reason="asks the systemd of the system as root does")
def test_check_tells_whether_the_memory_limit_works(tmp_path: Path) -> None:
    config = Config(str(tmp_path), str(tmp_path), {})
    assert list(programs.memory(config, repo())) == []
    machine = Machine(tmp_path)
    (found,) = programs.memory(config, repo(memory=GB), machine.systemd)
    assert (found.level, found.message) == (
        "ok",
        "a command of a stage may take 1G: systemd sees to that",
    )
    (found,) = programs.memory(config, repo(memory=GB), Systemd(running=str(tmp_path / "none")))
    assert (found.level, found.message, found.fix) == (
        "warn",
        "memory: 1G does not hold: systemd does not run here",
        "remove memory of app",
    )
