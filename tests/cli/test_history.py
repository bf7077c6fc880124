"""``deployctl history`` and ``show``: past deployments, and how long their stages took."""

from __future__ import annotations

import re
import time

from deployctl.store.database import Database
from tests.support.app import App
from tests.support.cli import columns


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
