"""``deployctl logs``: the output of a deployment, of its failed step, and while it runs."""

from __future__ import annotations

import time

from deployctl.store import queue
from deployctl.store.database import Database
from tests.support.app import App
from tests.support.cli import Gate, finish


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
    app.configure(stages=[], healthcheck={"url": "http://127.0.0.1:1/", "deadline": 1})
    app.deploy(code=1)
    whole = app.cli("logs", "--failed").stdout.splitlines()
    assert whole[0] == "==> healthcheck", "no command failed: the whole stage is shown"


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
