"""All commands: help, wrong usage, the config, narrow or closed terminals, and bugs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployctl.cli import _COMMANDS
from deployctl.store import queue
from deployctl.store.database import Database
from tests.support.app import App
from tests.support.cli import PROGRAM, columns

COMMANDS = _COMMANDS
NASTY = "Clear \x1b[2J\x1b]0;x\x07 \x9b31m \u202eevil"
SAFE = "Clear \\x1b[2J\\x1b]0;x\\x07 \\x9b31m \\u202eevil"


@pytest.mark.parametrize("command", ["status", "history", "logs", "rollback"])
def test_an_unknown_repo_is_refused_with_a_similar_name(app: App, command: str) -> None:
    message = f"no repo appp in {app.cli.config}, did you mean app? (there are: app)"
    done = app.cli(command, "appp")
    assert (done.code, done.stdout, done.error) == (2, "", message)
    done = app.cli(command, "appp", "--json")
    assert (done.code, done.stderr) == (2, "")
    assert done.json == {"error": {"code": 2, "message": message}}


def test_an_unknown_command_or_option_is_refused(app: App) -> None:
    done = app.cli("statsu")
    assert (done.code, done.error) == (
        2,
        "no command statsu, did you mean status? (see: deployctl --help)",
    )
    done = app.cli("status", "--exitcode", "--json")
    assert (done.code, done.stderr) == (2, "")
    assert done.json["error"]["message"].startswith("No such option")
    done = app.cli()
    assert (done.code, done.error) == (2, "Missing command (see: deployctl --help)")
    without_words = subprocess.run(
        PROGRAM, check=False, capture_output=True, text=True, env=app.cli.env
    )
    assert (without_words.returncode, without_words.stderr) == (2, "")
    assert without_words.stdout.startswith("Usage: deployctl ")


def test_every_error_in_the_config_is_shown(app: App) -> None:
    app.cli.config.write_text("repos: {app: {brnach: x, path: /srv/app}}\n")
    done = app.cli("status")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{app.cli.config}:1: repos.app: missing key url: where git fetches from",
        f"{app.cli.config}:1: repos.app.brnach: unknown key, did you mean branch?",
    ]
    assert app.cli("deploy", "app", "--json").json["error"]["code"] == 2


def test_the_config_is_named_before_or_after_the_command_or_by_a_variable(app: App) -> None:
    config = str(app.cli.config)

    def exit_code(*words: str, **env: str) -> int:
        done = subprocess.run(
            [*PROGRAM, *words],
            check=False,
            capture_output=True,
            cwd="/",
            env={**app.cli.env, **env},
        )
        return done.returncode

    assert exit_code("-c", config, "status") == 0
    assert exit_code("status", "-c", config) == 0
    assert exit_code("status", f"--config={config}") == 0
    assert exit_code("status", DEPLOYCTL_CONFIG=config) == 0
    assert exit_code("status", "-c", config, DEPLOYCTL_CONFIG="/nonexistent") == 0
    assert exit_code("-c", "/nonexistent", "status", "-c", config) == 0
    assert exit_code("-c", "/nonexistent", "status") == 2
    assert exit_code("status", DEPLOYCTL_CONFIG="/nonexistent") == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(app: App, command: str) -> None:
    done = app.cli(command, "-h")
    assert (done.code, done.stderr) == (0, "")
    assert app.cli(command, "--help").stdout == done.stdout
    usage, rest = done.stdout.split("\n\n", 1)
    assert usage.startswith(f"Usage: deployctl {command} ")
    about, options = rest.split("Options:\n")
    options, _, _commands = options.partition("\nCommands:\n")
    assert len(about.split()) > 4
    assert "--config FILE" in options
    for line in options.splitlines():
        indent = len(line) - len(line.lstrip())
        words = line.split("  ")
        assert indent > 20 or len(words) > 2 or len(line) > 20, line
    assert max(map(len, done.stdout.splitlines())) <= 80
    (line,) = [line for line in app.cli("-h").stdout.splitlines() if f"  {command} " in line]
    assert line.endswith("."), line
    assert not line.endswith("..."), line


def test_no_line_is_wider_than_a_narrow_terminal(app: App) -> None:
    long = "Eine sehr lange Überschrift 部署部署部署部署部署部署部署部署部署部署部署部署 und mehr"
    app.push("1", long)
    app.deploy()
    app.push("2", long)
    app.deploy()
    app.push("bad", long)
    app.deploy(code=3)
    app.cli("lock", "app", "-m", "w" * 100)
    for words in (("status",), ("history",), ("history", "app"), ("rollback", "app", "--list")):
        for wide in (60, 120):
            lines = app.cli.on_terminal(*words, columns=wide).splitlines()
            assert lines
            assert max(map(columns, lines)) <= wide, words
    assert any(line.endswith("...") for line in app.cli.on_terminal("history").splitlines())
    assert "..." not in app.cli("history").stdout, "a pipe gets whole lines"


def test_control_characters_are_shown_escaped(app: App) -> None:
    app.push("1", NASTY)
    app.deploy()
    app.push("2", NASTY)
    app.deploy()
    commands = [("status",), ("history",), ("show", "1"), ("logs",), ("rollback", "app", "--list")]
    commands += [("deploy", "app", "-n"), ("rollback", "app", "-n"), ("deploy", "app")]
    for words in commands:
        for text in (app.cli(*words).stdout, app.cli(*words, "--json").stdout):
            assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text), words
    assert SAFE in app.cli("status").stdout
    assert app.status["live"]["subject"] == NASTY


@pytest.mark.parametrize("locale", [{"LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}])
def test_a_terminal_with_ascii_only_gets_escapes(app: App, locale: dict[str, str]) -> None:
    app.push("1", "Größe 部署")
    done = app.cli("deploy", "app", env=locale)
    assert (done.code, done.stderr) == (0, "")
    assert "Gr\\xf6\\xdfe \\u90e8\\u7f72" in done.stdout
    for words in (("status",), ("history",), ("show", "1"), ("logs",)):
        assert "Gr\\xf6\\xdfe \\u90e8\\u7f72" in app.cli(*words, env=locale).stdout
    document = app.cli("status", "--json", env=locale).json
    assert document["repos"][0]["live"]["subject"] == "Größe 部署"


def test_commands_work_in_a_removed_directory_and_without_home(app: App) -> None:
    app.push("1")
    gone = app.directory / "gone"
    for words in (("deploy", "app"), ("status",), ("sync",)):
        gone.mkdir()
        script = f'cd {gone} && rmdir {gone} && exec "$@"'
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *app.cli.argv(*words)],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.defpath, "PYTHONPATH": app.cli.env["PYTHONPATH"]},
        )
        assert (done.returncode, done.stderr) == (0, ""), words
    assert app.live == "1"


@pytest.mark.parametrize("words", [("status",), ("history", "--json"), ("logs",)])
def test_a_closed_stdout_causes_no_error(app: App, words: tuple[str, ...]) -> None:
    app.release("1")
    script = 'exec "$@" >&-'
    argv = ["/bin/sh", "-c", script, "sh", *app.cli.argv(*words)]
    done = subprocess.run(argv, check=False, capture_output=True, env=app.cli.env)
    assert (done.returncode, done.stderr) == (0, b"")
    unread = subprocess.Popen(app.cli.argv(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert unread.stdout is not None
    unread.stdout.close()
    assert unread.stderr is not None
    assert (unread.stderr.read(), unread.wait(30)) == (b"", 0)
    unread.stderr.close()


@pytest.mark.parametrize("words", [["--version"], ["status"], ["history"]])
def test_a_command_that_only_reads_imports_no_slow_module(app: App, words: list[str]) -> None:
    app.release("1")
    program = (
        "import sys, json; from deployctl.__main__ import main\n"
        "try: main()\n"
        "finally: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    named = [] if words == ["--version"] else ["-c", str(app.cli.config)]
    done = subprocess.run(
        [sys.executable, "-c", program, *named, *words],
        check=True,
        capture_output=True,
        env=app.cli.env,
    )
    heavy = {
        "git",
        "requests",
        "apprise",
        "asyncio",
        "deployctl.webhook.cgi",
        "deployctl.notices.messenger",
    }
    assert heavy & set(json.loads(done.stderr)) == set()


def test_a_bug_is_reported_with_a_file_and_its_own_code(app: App) -> None:
    app.release("1")
    with Database(str(app.state)) as db, db.writing() as connection:
        connection.execute("UPDATE deployments SET failure = 'no json'")
    done = app.cli("history")
    assert (done.code, done.stdout) == (70, "")
    path = Path(done.error.rsplit(" ", 1)[1])
    assert done.error.startswith("a bug in deployctl (JSONDecodeError: ")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in path.read_text()
    document: dict[str, Any] = app.cli("history", "--json").json
    assert document["error"]["code"] == 70


@pytest.mark.parametrize(
    ("wanted", "shown"), [("a" * 40, "a" * 40), ("a" * 64, "a" * 64), ("aaaaaaa", None)]
)
def test_a_queued_deployment_shows_the_full_revision_that_it_was_asked_for(
    app: App, wanted: str, shown: str | None
) -> None:
    with Database(str(app.state)) as db, db.writing() as connection:
        queue.enqueue(
            connection,
            repo="app",
            trigger="ssh",
            actor="x",
            now=1.0,
            order=queue.Order(revision=wanted),
        )
    assert app.cli.json("show", "1")["revision"] == shown
    assert app.status["queued"][0]["revision"] == shown
    app.cli("cancel", "1")
    assert app.cli.json("show", "1")["revision"] is None, "it was never deployed"
