"""The commands that only read (status, history, show, logs), help, and output on terminals."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.cli import _COMMANDS
from deployctl.store import queue
from deployctl.store.database import Database
from tests.support.app import App
from tests.support.cli import PROGRAM, Gate, finish

COMMANDS = _COMMANDS
NASTY = "Clear \x1b[2J\x1b]0;x\x07 \x9b31m \u202eevil"
AGE = re.compile(r"just now|[0-9.]+s ago")
SAFE = "Clear \\x1b[2J\\x1b]0;x\\x07 \\x9b31m \\u202eevil"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def test_before_the_first_deployment_every_command_answers_and_writes_no_file(app: App) -> None:
    status = app.cli("status")
    assert status.stdout == "app\n  live      nothing yet; start with: deployctl deploy app\n"
    assert app.cli("status", "--exit-code").code == 0
    assert app.cli("history").stdout == "no deployments yet\n"
    assert app.cli.json("history") == {"deployments": []}
    done = app.cli("logs")
    assert (done.code, done.error) == (
        2,
        "nothing was ever deployed; start with: deployctl deploy REPO",
    )
    assert app.cli("logs", "app").error == (
        "app was never deployed; start with: deployctl deploy app"
    )
    assert app.cli("show", "1").error == "no deployment #1; see: deployctl history"
    assert not app.state.exists()
    assert not app.path.exists()


def test_the_document_of_a_status_has_every_field(app: App) -> None:
    assert app.cli.json("status") == {
        "repos": [
            {
                "repo": "app",
                "strategy": "releases",
                "path": str(app.path),
                "branch": "main",
                "tags": None,
                "live": None,
                "last": None,
                "running": None,
                "queued": [],
                "hold": None,
                "lock": None,
                "rollback_to": None,
                "problem": None,
                "probation": None,
            }
        ]
    }
    first, second = app.release("1"), app.release("2")
    app.push("bad")
    bad = app.deploy(code=3)
    app.cli("lock", "app", "-m", "why")
    status = app.status
    assert status["live"] == {
        "revision": second["revision"],
        "release": second["release"],
        "since": second["finished_at"],
        "deployment": 2,
        "subject": "Version 2",
    }
    assert status["last"] == bad
    assert status["hold"] == {
        "revision": bad["revision"],
        "since": bad["finished_at"],
        "why": "deployment #3 rolled back from it",
    }
    assert set(status["lock"]) == {"actor", "since", "why"}
    assert status["rollback_to"] == {
        "revision": first["revision"],
        "release": first["release"],
        "deployment": 1,
    }


def test_status_shows_what_is_live_held_locked_and_waiting(app: App, gate: Gate) -> None:
    first = app.release("1")
    second = app.release("2")
    app.push("bad")
    bad = app.deploy(code=3)
    app.cli("lock", "app", "-m", "Friday")
    with Database(str(app.state)) as db, db.writing() as connection:
        queue.enqueue(connection, repo="app", trigger="webhook", actor="ada", now=time.time())
    lines = app.cli("status", "app").stdout.splitlines()
    actor = second["actor"]
    assert [AGE.sub("AGE", line) for line in lines] == [
        "app",
        f"  live      {second['revision'][:12]} Version 2 (#2, AGE)",
        AGE.sub("AGE", lines[2]),
        "  waiting   #4 deploy by ada, AGE",
        f"  held      {bad['revision'][:12]}, AGE: deployment #3 rolled back from it",
        "            push a fix, or: deployctl resume app",
        f"  locked    by {actor}, AGE: Friday",
        "            lift it with: deployctl unlock app",
        f"  rollback  would go to #1 {first['revision'][:12]}",
    ]
    assert AGE.sub("AGE", lines[2]).startswith(
        "  last      #3 rolled_back, AGE, in healthcheck: the command failed: exit code 1 ("
    )


def test_status_and_history_show_a_running_deployment(app: App, gate: Gate) -> None:
    app.configure(stages=[{"name": "build", "run": gate.command}])
    process = app.cli.start("deploy", "app")
    gate.wait()
    assert "  running   #1 deploy by " in app.cli("status").stdout
    running = app.status["running"]
    assert (running["status"], running["finished_at"], running["duration"]) == (
        "running",
        None,
        None,
    )
    assert running["stages"][-1]["status"] == "running"
    assert "#1  app  running  " in app.cli("history").stdout
    gate.open()
    assert finish(process).code == 0


def test_a_refused_deployment_is_not_shown_as_the_last_one(app: App) -> None:
    """A push of a held revision is queued if the delivery does not name the revision."""
    app.release("1")
    app.release("2")
    app.cli("rollback", "app")
    with Database(str(app.state)) as db, db.writing() as connection:
        queue.enqueue(connection, repo="app", trigger="webhook", actor="x", now=time.time())
    (refused,) = app.cli.json("run")["deployments"]
    assert (refused["status"], "is held" in refused["reason"]) == ("cancelled", True)
    assert app.status["last"]["number"] == 3
    assert app.cli("status", "--exit-code").code == 0


def test_with_exit_code_status_fails_if_the_newest_deployment_did(app: App) -> None:
    app.release("1")
    assert app.cli("status", "--exit-code").code == 0
    app.push("")
    app.deploy(code=1)
    assert app.cli("status").code == 0
    assert app.cli("status", "--exit-code").code == 1
    assert app.cli("status", "app", "--exit-code", "--json").code == 1
    app.release("2")
    assert app.cli("status", "--exit-code").code == 0


def test_history_lists_the_newest_first_up_to_the_limit(app: App) -> None:
    for version in "123":
        app.release(version)
    numbers = [entry["number"] for entry in app.cli.json("history")["deployments"]]
    assert numbers == [3, 2, 1]
    assert len(app.cli("history", "-n", "2").stdout.splitlines()) == 2
    lines = app.cli("history", "app").stdout.splitlines()
    assert lines[0].startswith("#3  succeeded  ")
    assert lines[0].endswith(f"Version 3 ({app.status['last']['actor']})")
    for words in (("-n", "0"), ("-n", "x")):
        assert app.cli("history", *words).code == 2


def test_history_with_stages_has_the_duration_of_each_stage(app: App) -> None:
    app.release("1")
    app.push("")
    app.deploy(code=1)
    make_slow(app, 1, "test")
    text = re.sub(r"\b[\d.]+s\b", "0s", app.cli("history", "--stages").stdout)
    newer, newer_stages, older, older_stages = text.splitlines()
    assert newer.startswith("#2 ")
    assert newer_stages == "      fetch 0s, prepare 0s, test 0s failed"
    assert older.startswith("#1 ")
    assert older_stages == (
        "      fetch 0s, prepare 0s, test 4m 0s (usually 0s), switch 0s, healthcheck 0s"
    )
    for wide in (60, 80):
        lines = app.cli.on_terminal("history", "--stages", columns=wide).splitlines()
        assert max(map(columns, lines)) <= wide


def make_slow(app: App, number: int, stage: str) -> None:
    """Record that the stage took 4m 10s and usually takes 40s."""
    with Database(str(app.state)) as db, db.writing() as connection:
        connection.execute(
            "UPDATE stages SET duration = 250, usual = 40 WHERE deployment = ? AND name = ?",
            (number, stage),
        )


def test_a_stage_much_slower_than_usual_is_shown_with_its_usual_duration(app: App) -> None:
    for version in "12345":
        app.release(version)
    with Database(str(app.state)) as db, db.writing() as connection:
        connection.execute("UPDATE stages SET duration = -100 WHERE name = 'test'")
    app.release("6")
    assert "\n<== test: ok, 0.0s, usually 0.0s\n" in app.cli("logs").stdout
    make_slow(app, 6, "test")
    assert re.search(r"\n  test +succeeded +4m 10s  usually 40s\n", app.cli("show", "6").stdout)
    assert app.cli.json("show", "6")["stages"][2]["usual"] == 40


def test_logs_failed_shows_only_the_failed_step(app: App) -> None:
    run = ["echo one", "printf two; exit 1", "echo three"]
    app.configure(stages=[{"name": "build", "run": run}])
    app.push("1")
    app.deploy(code=1)
    assert app.cli("logs", "--failed").stdout == "$ printf two; exit 1\ntwo\n"
    assert app.cli("logs", "--failed", "-n", "1").stdout == "two\n"
    parallel = ["for i in 1 2 3; do echo one; sleep 0.1; done; exit 1", "echo two; sleep 60"]
    app.configure(stages=[{"name": "build", "parallel": parallel}])
    app.deploy(code=1)
    assert app.cli("logs", "--failed").stdout == f"[1] $ {parallel[0]}\n" + "[1] one\n" * 3
    app.configure(stages=[], healthcheck={"url": "http://127.0.0.1:1/", "deadline": 0.1})
    app.deploy(code=1)
    whole = app.cli("logs", "--failed").stdout.splitlines()
    assert whole[0] == "==> healthcheck", "no command failed: the whole stage is shown"


def test_show_prints_the_whole_deployment(app: App) -> None:
    app.configure(stages=[{"name": "build", "run": "echo one; echo two; exit 3"}])
    revision = app.push("1", "Größe")
    app.deploy(code=1)
    text = app.cli("show", "1").stdout
    assert text.startswith("#1 app: deploy, failed\nasked     by ")
    assert f"\nrevision  {revision} Größe\n" in text
    assert text.endswith(
        "\nfailed in build: step 1 failed: exit code 3\n"
        "command   echo one; echo two; exit 3\n"
        "last lines:\n  one\n  two\n"
    )
    assert app.cli("show", "#1").stdout == text
    done = app.cli("show", "app")
    assert (done.code, done.error) == (
        2,
        "app is not a deployment's number; see: deployctl history",
    )


def test_logs_shows_the_newest_deployment_or_the_one_named(app: App) -> None:
    app.release("1")
    app.push("")
    app.deploy(code=1)
    app.push("", "Third")
    app.deploy(code=1)
    text = app.cli("logs").stdout
    assert text.startswith("app #3: deploy ")
    assert app.cli("logs", "app").stdout == text
    assert app.cli("logs", "1").stdout.startswith("app #1: deploy ")
    assert app.cli("logs", "-n", "1").stdout == "app #3: failed; what was live stays live\n"
    assert app.cli("logs", "-n", "0").stdout == ""
    failed = app.cli("logs", "3", "--failed").stdout
    assert failed == "$ grep . version\n"
    document = app.cli.json("logs", "3")
    assert document == {"number": 3, "repo": "app", "output": text}
    done = app.cli("logs", "1", "--failed")
    assert (done.code, done.stdout) == (0, "")
    assert done.error == "#1 has no failed stage: it ended succeeded"


def test_logs_says_why_there_is_no_output(app: App) -> None:
    with Database(str(app.state)) as db, db.writing() as connection:
        for _ in range(2):
            queue.enqueue(connection, repo="app", trigger="webhook", actor="x", now=time.time())
    assert app.cli("logs", "2").error == "#2 is queued and has not begun"
    superseded = "#1 never ran, it was superseded: a newer request, #2, took its place"
    assert app.cli("logs", "1").error == superseded
    assert app.cli("logs", "1", "-f").error == superseded
    app.push("1")
    app.deploy()
    (app.state / "logs" / "3.log").unlink()
    assert app.cli("logs").error == "the log of #3 is gone; see: deployctl show 3"


def test_logs_of_a_running_deployment_can_be_followed(app: App, gate: Gate) -> None:
    app.configure(stages=[{"name": "build", "run": ["echo hello", gate.command, "echo bye"]}])
    process = app.cli.start("deploy", "app")
    gate.wait()
    followers = [app.cli.start("logs", "-f", *words) for words in ((), ("1",), ("-n", "1"))]
    stream = followers[0].stdout
    assert stream is not None
    assert any(line == b"hello\n" for line in iter(stream.readline, b""))
    last = followers[2].stdout
    assert last is not None
    assert last.readline().startswith(b"$ echo $$ > ")
    gate.open()
    done = finish(process)
    followed = [finish(follower) for follower in followers]
    assert [follower.code for follower in followed] == [0, 0, 0]
    assert done.stdout.endswith(followed[0].stdout)
    assert followed[0].stdout.endswith(f"app #1: {app.upstream.head[:12]} is live\n")
    assert followed[1].stdout == done.stdout
    assert followed[2].stdout.startswith("$ echo bye\nbye\n")
    assert app.cli("logs", "-f").stdout == done.stdout, "a finished deployment is shown whole"


def test_logs_follow_is_refused_with_json_and_with_failed(app: App) -> None:
    for option in ("--json", "--failed"):
        done = app.cli("logs", "-f", option)
        assert done.code == 2
        message = done.json["error"]["message"] if option == "--json" else done.error
        assert message == "-f shows a log as it grows: not with --json, not with --failed"


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


def test_a_long_history_does_not_slow_down_status_and_history(app: App) -> None:
    app.release("1")
    with Database(str(app.state)) as db, db.writing() as connection:
        connection.executemany(
            "INSERT INTO deployments (repo, task, trigger, actor, status, queued_at, revision,"
            " subject, finished_at) VALUES ('app', 'deploy', 'webhook', 'x', ?, 1, ?, 's', 2)",
            [("superseded" if number % 2 else "failed", "0" * 40) for number in range(10_000)],
        )
    began = time.monotonic()
    assert app.status["last"]["status"] == "failed"
    assert app.status["live"]["deployment"] == 1
    assert len(app.cli("history").stdout.splitlines()) == 20
    assert time.monotonic() - began < 5


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
