"""The output on a terminal while a deployment runs."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.cli import Gate, wait_for_end
from tests.support.terminal import Terminal
from tests.support.upstream import Upstream

OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> App:
    return App(tmp_path, upstream, write_config)


@pytest.fixture
def open_terminal(app: App) -> Iterator[OpenTerminal]:
    """Run a command at a terminal of its own: ``open_terminal("deploy", "app", columns=60)``."""
    opened: list[Terminal] = []

    def start(*words: str, env: dict[str, str] | None = None, **size: int) -> Terminal:
        terminal = Terminal(app.cli.argv(*words), env={**app.cli.env, **(env or {})}, **size)
        opened.append(terminal)
        return terminal

    yield start
    for terminal in opened:
        with terminal:
            pass


def without_times(lines: list[str]) -> list[str]:
    """Return the lines with every duration replaced by ``0s``."""
    return [re.sub(r" +[\d.]+s\b", " 0s", line) for line in lines]


def configure_build(app: App, *steps: str) -> None:
    """Configure a stage called build, and push a commit."""
    app.configure(stages=[{"name": "build", "run": list(steps)}], healthcheck=None)
    app.push("1", "Größe 部署")


def test_a_stage_that_succeeded_is_one_line_without_its_output(
    app: App, open_terminal: OpenTerminal
) -> None:
    configure_build(app, "seq 100", "echo done")
    terminal = open_terminal("deploy", "app")
    assert terminal.finish() == 0
    first, *lines = without_times(terminal.lines)
    assert first.startswith("app #1: deploy refs/heads/main (cli, asked by ")
    sha = app.upstream.head[:12]
    assert lines == [
        "fetch        ok 0s",
        f"  refs/heads/main is at {sha}; deploying {sha} Größe 部署",
        "prepare      ok 0s",
        "build        ok 0s",
        "switch       ok 0s",
        f"app #1: {sha} is live",
    ]
    assert (terminal.colour("ok"), terminal.colour("build")) == ("green", "default")
    assert "$ seq 100\n1\n2\n" in app.cli("logs").stdout


def test_the_running_step_is_shown_with_its_last_lines_in_place(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    configure_build(app, f"seq 100; echo 部署; {gate.command}; echo more; sleep 60")
    terminal = open_terminal("deploy", "app", columns=40)
    shown = without_times(terminal.wait_for("    部署"))
    assert shown[-4:] == [
        "build 0s  $ seq 1...",
        "    99",
        "    100",
        "    部署",
    ]
    row = terminal.cursor[1]
    assert terminal.cursor == (0, len(shown) - 4)
    before = terminal.lines[row]
    terminal.wait_for(before, gone=True)
    gate.open()
    assert without_times(terminal.wait_for("    more"))[-3:] == ["    100", "    部署", "    more"]
    assert terminal.cursor == (0, row)


def test_the_last_lines_of_a_failed_stage_stay(app: App, open_terminal: OpenTerminal) -> None:
    configure_build(app, "echo fine", "seq 100 >&2; exit 3")
    terminal = open_terminal("deploy", "app", rows=50)
    assert terminal.finish() == 1
    assert without_times(terminal.lines)[4:] == [
        "build        failed 0s  step 2 failed: exit code 3",
        "  $ seq 100 >&2; exit 3",
        *(f"  {number}" for number in range(81, 101)),
        "app #1: failed; nothing is live",
        "failed in build: step 2 failed: exit code 3",
        "more: deployctl show 1, deployctl logs 1",
    ]
    assert terminal.colour("failed") == "red"


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_no_temporary_line_is_wider_than_the_terminal(
    app: App, open_terminal: OpenTerminal, gate: Gate, columns: int
) -> None:
    wide = "部署" * 40
    configure_build(
        app, f"echo {wide}; printf '\\033[2J\\377\\tx\\r12%%\\r'; echo {wide}; {gate.command}"
    )
    terminal = open_terminal("deploy", "app", columns=columns)
    terminal.wait_for("部署部", gone=False)
    gate.wait()
    head = next(line for line in terminal.wait_for("12%") if line.startswith("build"))
    row = terminal.lines.index(head)
    assert [len(terminal.lines[row:]), terminal.cursor] == [4, (0, row)]
    assert "\\x1b[2J\\xff x"[: columns - 8] in terminal.lines[row + 1]
    gate.open()
    assert terminal.finish() == 0
    assert "部署部" not in "".join(terminal.lines)


def test_a_terminal_of_two_lines_shows_only_the_stage(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    configure_build(app, f"seq 100; {gate.command}")
    terminal = open_terminal("deploy", "app", rows=2)
    gate.wait()
    terminal.wait_for("$ seq")
    terminal.wait_for(terminal.lines[-1], gone=True)
    assert "    100" not in terminal.lines
    gate.open()
    assert terminal.finish() == 0


def test_lines_are_cut_to_a_changed_width(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    configure_build(app, f"echo {'x' * 70}; {gate.command}")
    terminal = open_terminal("deploy", "app")
    terminal.wait_for("x" * 70)
    terminal.resize(30, 30)
    terminal.wait_for("    " + "x" * 22 + "...")
    terminal.resize(80, 30)
    terminal.wait_for("x" * 70)
    gate.open()
    assert terminal.finish() == 0
    assert [line for line in terminal.lines if "xx" in line] == []


def test_much_output_costs_few_repaints_and_no_memory(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    configure_build(app, f"head -c 200000000 /dev/zero | tr '\\0' x; echo; {gate.command}")
    terminal = open_terminal("deploy", "app")
    gate.wait()
    status = Path(f"/proc/{terminal.process.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    gate.open()
    assert terminal.finish() == 0
    assert len(terminal.written) < 1_000_000
    assert peak is not None
    assert int(peak[1]) < 150_000


def test_ctrl_c_leaves_the_cursor_on_a_line_of_its_own(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    configure_build(app, f"seq 100; {gate.command}")
    terminal = open_terminal("deploy", "app")
    step = gate.wait()
    terminal.wait_for("    100")
    terminal.press(b"\x03")
    assert terminal.finish() == 130
    assert without_times(terminal.lines)[-4:] == [
        "build        cancelled 0s",
        "app #1: cancelled; nothing is live (interrupted (Ctrl-C))",
        "",
        "deployctl: interrupted",
    ]
    assert terminal.cursor == (0, len(terminal.lines))
    wait_for_end(step)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_deployment_leaves_the_terminal_in_order(
    app: App, open_terminal: OpenTerminal, gate: Gate, number: signal.Signals
) -> None:
    configure_build(app, gate.command)
    terminal = open_terminal("deploy", "app")
    gate.wait()
    terminal.wait_for("build ")
    os.kill(terminal.process.pid, number)
    assert terminal.finish() == 130
    assert terminal.lines[-2:] == [
        f"app #1: cancelled; nothing is live (interrupted ({number.name}))",
        "deployctl: interrupted",
    ]


def test_closing_the_terminal_does_not_stop_the_deployment(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    configure_build(app, gate.command, "seq 10000")
    terminal = open_terminal("deploy", "app")
    gate.wait()
    terminal.wait_for("build ")
    terminal.hang_up()
    gate.open()
    assert terminal.process.wait(timeout=30) == 0
    assert app.cli.json("show", "1")["status"] == "succeeded"


def test_a_waiting_deployment_shows_the_reason_and_then_its_stages(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    app.configure(stages=[{"name": "build", "run": gate.command}], healthcheck=None)
    app.push("1")
    assert app.cli("deploy", "app", "--detach").code == 0
    gate.wait()
    terminal = open_terminal("deploy", "app")
    (shown,) = terminal.wait_for("app #2: waiting: app #1 runs  ")
    terminal.wait_for(shown, gone=True)
    gate.open()
    assert terminal.finish() == 0
    lines = without_times(terminal.lines)
    names = [line.split()[0] for line in lines if " ok " in line]
    assert names == ["fetch", "prepare", "build", "switch"]
    assert lines[0].startswith("app #2: deploy ")
    assert lines[-1].endswith(" is live")
    assert not any(line.startswith(("==>", "<==", "$")) for line in lines)


def test_a_deployment_that_another_process_runs_and_fails_is_shown_the_same(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    app.configure(stages=[{"name": "build", "run": [gate.command, "echo no; exit 1"]}])
    app.push("1")
    assert app.cli("deploy", "app", "--detach").code == 0
    gate.wait()
    terminal = open_terminal("deploy", "app", rows=50)
    terminal.wait_for("waiting")
    gate.open()
    assert terminal.finish() == 1
    lines = without_times(terminal.lines)
    failed = next(index for index, line in enumerate(lines) if "failed 0s" in line)
    assert lines[failed].startswith("build        failed 0s")
    assert "  no" in lines[failed:]
    assert "app #2: failed; nothing is live" in lines[failed:]


def test_the_output_of_parallel_steps_is_shown_together(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    steps = [f"echo one; {gate.command}", "echo two >&2"]
    stage = {"name": "build", "parallel": steps}
    skipped = {"name": "other", "run": "true", "when": {"task": ["rollback"]}}
    app.configure(stages=[stage, skipped], healthcheck=None)
    app.push("1")
    terminal = open_terminal("deploy", "app", columns=100)
    terminal.wait_for("    [1] one")
    terminal.wait_for("    [2] two")
    gate.open()
    assert terminal.finish() == 0
    lines = without_times(terminal.lines)
    assert lines[4:6] == ["build        ok 0s", "other        skipped 0s  this is a deploy"]


def test_several_repos_are_shown_one_after_the_other(
    app: App, open_terminal: OpenTerminal, upstream: Upstream
) -> None:
    app.write({name: {"url": upstream.url} for name in ("one", "two")})
    terminal = open_terminal("deploy", "--all")
    assert terminal.finish() == 0
    names = [line.split()[0] for line in terminal.lines if not line.startswith(" ")]
    stages = ["fetch", "prepare", "switch"]
    assert names == ["one", *stages, "one", "two", *stages, "two"]


def test_with_json_progress_is_not_shown_on_stdout(app: App, open_terminal: OpenTerminal) -> None:
    app.push("1")
    out = app.directory / "out"
    words = app.cli.argv("deploy", "app", "--json")
    with Terminal(["sh", "-c", '"$@" >"$0"', str(out), *words], env=app.cli.env) as terminal:
        assert terminal.finish() == 0
        assert "test         ok 0s" in without_times(terminal.lines)
    assert out.read_text().startswith('{"number": 1, ')


def test_verbose_shows_all_output(app: App, open_terminal: OpenTerminal) -> None:
    configure_build(app, "echo hello")
    for words in (("deploy", "app", "-v"), ("rollback", "app", "--to", "1", "--verbose")):
        terminal = open_terminal(*words)
        terminal.finish()
        assert b"\x1b" not in terminal.written
    terminal = open_terminal("deploy", "app", "--verbose")
    assert terminal.finish() == 0
    assert {"==> build", "$ echo hello", "hello"} < set(terminal.lines)


@pytest.mark.parametrize("env", [{"CI": "true"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_without_a_capable_terminal_output_has_no_escape_sequences(
    app: App, open_terminal: OpenTerminal, env: dict[str, str]
) -> None:
    configure_build(app, "echo hello")
    terminal = open_terminal("deploy", "app", env=env)
    assert terminal.finish() == 0
    assert b"\x1b" not in terminal.written
    assert {"==> build", "$ echo hello", "hello"} < set(terminal.lines)


def test_no_color_removes_only_the_colours(app: App, open_terminal: OpenTerminal) -> None:
    configure_build(app, "echo hello")
    terminal = open_terminal("deploy", "app", env={"NO_COLOR": "1"})
    assert terminal.finish() == 0
    assert re.search(rb"\x1b\[[\d;]*m", terminal.written) is None
    assert "build        ok 0s" in without_times(terminal.lines)


def test_a_background_job_shows_no_progress(
    app: App, open_terminal: OpenTerminal, gate: Gate
) -> None:
    configure_build(app, f"seq 100; {gate.command}")
    words = ["sh", "-cm", '"$@" & wait', "sh", *app.cli.argv("deploy", "app")]
    with Terminal(words, env=app.cli.env) as terminal:
        gate.wait()
        terminal.wait_for("prepare ")
        gate.open()
        assert terminal.finish() == 0
        assert b"$ seq" not in terminal.written
        assert "build        ok 0s" in without_times(terminal.lines)
