"""Steps: their environment, their end, their output, and how a failure is shown."""

from __future__ import annotations

import json
import os
import pwd
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from deployctl.deploy import steps
from deployctl.deploy.journal import StageJournal
from deployctl.deploy.steps import StageContext, run_parallel
from deployctl.output.screen import Output
from deployctl.store.logs import LogFile
from deployctl.system.environment import PATH, system_locale
from deployctl.system.process import LastLines
from deployctl.values.masking import Masker
from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.cli import is_running, kill, wait_for_end
from tests.support.upstream import Upstream

DUMP = """
import json, os, sys
facts = dict(
    env=dict(os.environ), cwd=os.getcwd(), stdin=os.readlink("/proc/self/fd/0"),
    umask=os.umask(0o22), fds=sorted(os.listdir("/proc/self/fd"), key=int), session=os.getsid(0),
)
json.dump(facts, open(sys.argv[1], "w"))
"""
SECRET = "hunter2-hunter2"


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> App:
    (tmp_path / "dump.py").write_text(DUMP)
    return App(tmp_path, upstream, write_config)


def dump(app: App, name: str) -> list[str]:
    """Return a command that writes facts about its own process into a file."""
    return [sys.executable, "-I", str(app.directory / "dump.py"), str(app.directory / name)]


def facts(app: App, name: str) -> dict[str, Any]:
    """Return the facts in that file."""
    document: dict[str, Any] = json.loads((app.directory / name).read_text())
    return document


def test_a_step_gets_the_configured_environment_and_nothing_of_its_caller(app: App) -> None:
    first = app.release("1")
    app.configure(
        stages=[{"name": "dump", "run": dump(app, "stage"), "env": {"STAGE": "s"}}],
        restart=dump(app, "restart"),
        healthcheck={"command": dump(app, "health")},
        env={"PORT": 8000},
        secrets={"TOKEN": SECRET},
    )
    revision = app.push("2")
    caller = {
        "HTTP_PROXY": "http://evil",
        "GIT_DIR": "/nonexistent",
        "GIT_OBJECT_DIRECTORY": "/nonexistent",
        "GIT_INDEX_FILE": "/nonexistent",
        "FOO": "1",
        "HOME": "/nonexistent",
        "DEPLOYCTL_REVISION": "evil",
        "LD_PRELOAD": "",
        "PYTHONSTARTUP": "/nonexistent",
    }
    done = app.cli("deploy", "app", env=caller)
    assert done.code == 0, done
    account = pwd.getpwuid(os.geteuid())
    expected = {
        **system_locale(),
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell,
        "PATH": PATH,
        "CI": "true",
        "PORT": "8000",
        "TOKEN": SECRET,
        "DEPLOYCTL_REPO": "app",
        "DEPLOYCTL_REVISION": revision,
        "DEPLOYCTL_PREVIOUS_REVISION": first["revision"],
        "DEPLOYCTL_REF": "refs/heads/main",
        "DEPLOYCTL_DEPLOYMENT": "2",
        "DEPLOYCTL_TASK": "deploy",
        "DEPLOYCTL_TRIGGER": "cli",
        "DEPLOYCTL_ACTOR": account.pw_name,
        "DEPLOYCTL_RELEASE": f"2-{revision[:12]}",
        "DEPLOYCTL_HOST": os.uname().nodename,
    }
    release = str(app.path / "releases" / f"2-{revision[:12]}")
    for name in ("stage", "restart", "health"):
        process = facts(app, name)
        env = process["env"]
        assert env.pop("DEPLOYCTL_RUN"), "it marks the processes of a deployment"
        stage_env = {"STAGE": "s"} if name == "stage" else {}
        assert env == {**expected, **stage_env}, name
        assert (process["cwd"], process["stdin"], process["umask"]) == (release, "/dev/null", 0o022)
        assert process["fds"] == ["0", "1", "2", "3"], "3 is the listed directory itself"
        assert process["session"] != os.getsid(0)


def test_a_stage_may_have_a_directory_and_an_environment_of_its_own(app: App) -> None:
    app.configure(
        env={"A": "repo", "B": "repo"},
        stages=[{"name": "x", "run": "pwd; echo $A $B", "dir": "front", "env": {"A": "stage"}}],
    )
    app.upstream.commit({"version": "1\n", "front/x": "x"})
    done = app.cli("deploy", "app")
    assert done.code == 0
    assert f"\n{app.path}/releases/1-{app.upstream.head[:12]}/front\nstage repo\n" in done.stdout


def test_the_steps_of_a_rollback_get_its_task_and_release(app: App) -> None:
    app.release("1")
    app.release("2")
    app.configure(restart=dump(app, "restart"))
    app.cli.json("rollback", "app")
    env = facts(app, "restart")["env"]
    assert (env["DEPLOYCTL_TASK"], env["DEPLOYCTL_DEPLOYMENT"]) == ("rollback", "3")
    assert env["DEPLOYCTL_RELEASE"].startswith("1-")


def test_a_secret_is_hidden_in_output_logs_and_json(app: App) -> None:
    (app.directory / "token").write_text(f"{SECRET}\n")
    (app.directory / "token").chmod(0o600)
    app.configure(
        secrets={"TOKEN": f"file:{app.directory}/token"},
        stages=[{"name": "leak", "run": ['echo "it is $TOKEN" >&2', f"echo {SECRET}; exit 1"]}],
    )
    app.push("1", f"Use {SECRET}")
    shown = [app.cli("deploy", "app", *words) for words in ((), ("--json",))]
    shown += [
        app.cli(*words)
        for words in (("logs",), ("logs", "--failed", "--json"), ("show", "2"), ("status",))
    ]
    shown += [app.cli(word, "--json") for word in ("history", "status")]
    leaks = [done for done in shown if SECRET in done.stdout + done.stderr]
    assert leaks == []
    assert "it is [hidden]\n" in shown[0].stdout
    assert "$ echo [hidden]; exit 1\n" in shown[0].stdout
    assert shown[1].json["failure"]["command"] == "echo [hidden]; exit 1"
    assert shown[1].json["failure"]["tail"] == "[hidden]"
    logs = [path.read_bytes() for path in (app.state / "logs").iterdir()]
    assert not any(SECRET.encode() in log for log in logs)


def test_a_daemon_that_a_restart_step_starts_is_not_waited_for(app: App) -> None:
    app.configure(restart="sleep 60 & echo $! > ../../pid")
    app.release("1")
    daemon = int((app.path / "pid").read_text())
    try:
        assert is_running(daemon)
        assert app.cli("deploy", "app", "--no-wait").code == 0
        assert is_running(daemon)
    finally:
        kill(daemon)
        kill(int((app.path / "pid").read_text()))


def test_a_daemon_that_a_failed_restart_step_started_is_ended(app: App) -> None:
    app.configure(restart="sleep 60 & echo $! > ../../pid; exit 1")
    app.push("1")
    assert app.deploy(code=1)["failure"]["stage"] == "restart"
    wait_for_end(int((app.path / "pid").read_text()))


def test_a_step_that_times_out_is_ended_with_all_its_children(app: App) -> None:
    run = "sleep 60 & echo $! > ../../pid; setsid sleep 60 & echo $! > ../../pid2; wait"
    app.configure(stages=[{"name": "build", "run": run, "timeout": 0.3}])
    app.push("1")
    failure = app.deploy(code=1)["failure"]
    assert (failure["timed_out"], failure["exit_code"]) == (True, None)
    assert failure["message"] == "step 1 failed: timed out after 0.3s"
    for name in ("pid", "pid2"):
        pid = int((app.path / name).read_text())
        wait_for_end(pid)


@pytest.mark.parametrize(
    ("run", "code", "message"),
    [
        ("npmm ci", 127, f"step 1 failed: exit code 127: command not found (PATH was {PATH})"),
        (["npmm", "ci"], 127, f"step 1 failed: exit code 127: command not found (PATH was {PATH})"),
        ("./version", 126, "step 1 failed: exit code 126: not executable"),
        ("exit 137", 137, "step 1 failed: exit code 137: 128 + SIGKILL"),
    ],
)
def test_the_exit_code_of_a_step_is_explained(app: App, run: Any, code: int, message: str) -> None:
    app.configure(stages=[{"name": "build", "run": run}])
    app.push("1")
    failure = app.deploy(code=1)["failure"]
    assert (failure["exit_code"], failure["message"]) == (code, message)


def test_the_signal_that_killed_a_step_is_named(app: App) -> None:
    app.configure(stages=[{"name": "build", "run": "kill -SEGV $$"}])
    app.push("1")
    failure = app.deploy(code=1)["failure"]
    assert (failure["exit_code"], failure["signal"]) == (None, "SIGSEGV")
    assert failure["message"] == "step 1 failed: killed by SIGSEGV"


def test_control_characters_and_bytes_that_are_no_utf_8_are_escaped(app: App) -> None:
    app.configure(stages=[{"name": "build", "run": r"printf '\033[2J\377\302\233m\r\n'; exit 1"}])
    app.push("1")
    done = app.cli("deploy", "app")
    assert "\n\\x1b[2J\\xff\\x9bm\\x0d\n" in done.stdout
    shown = app.cli("show", "1").stdout
    assert shown.splitlines()[-1] == "  \\x1b[2J\\xff\\x9bm"
    assert "\x1b" not in app.cli("logs").stdout + shown


def test_the_last_lines_of_a_long_output_are_kept_with_the_failure(app: App) -> None:
    app.configure(stages=[{"name": "build", "run": "seq 100000; exit 1"}])
    app.push("1")
    lines = app.deploy(code=1)["failure"]["tail"].splitlines()
    assert lines[-1] == "100000"
    assert len(lines) == 20
    logged = app.cli("logs", "--failed").stdout.splitlines()
    assert logged[:2] == ["$ seq 100000; exit 1", "1"]
    assert logged[-1] == "100000"


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
    stage, context = stage_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_parallel(stage, ["sleep 5; touch ended", "true"], context, retries=0)
    assert begun[0].done()
    assert not (tmp_path / "ended").exists()


@pytest.mark.parametrize("lines", range(10))
def test_an_interruption_anywhere_in_the_wait_for_parallel_steps_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """``lines`` of Python run before the interruption, those of the standard library included."""
    wait, left = steps._first_failed, [lines]

    def interrupt(_frame: FrameType, event: str, _argument: object) -> Any:
        left[0] -= event == "line"
        if left[0] < 0:
            raise KeyboardInterrupt  # as Python raises it between any two instructions
        return interrupt

    def wait_and_interrupt(*arguments: Any) -> int | None:
        sys.settrace(interrupt)
        try:
            return wait(*arguments)
        finally:
            sys.settrace(None)

    monkeypatch.setattr(steps, "_first_failed", wait_and_interrupt)
    stage, context = stage_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_parallel(stage, ["sleep 9; touch ended"] * 2, context, retries=0)
    assert not (tmp_path / "ended").exists()


def stage_in(directory: Path) -> tuple[StageJournal, StageContext]:
    """Return the journal of a stage, and the context of its steps in this directory."""
    log = LogFile(str(directory / "log"))
    env, note = {"PATH": os.defpath}, str(directory / "note")
    stage = StageJournal("tests", log, Output(), Masker(()), LastLines)
    return stage, StageContext(str(directory), env, "test", note_path=note)
