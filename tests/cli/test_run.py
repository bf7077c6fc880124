"""``deployctl run``: it runs what is queued, and so many builds at a time as are allowed."""

from __future__ import annotations

import os
from typing import Any

from tests.support.app import USUAL, App
from tests.support.cli import finish
from tests.support.queue import deployed_by, enqueue

SLOW = [{"name": "build", "run": "date +%s.%N > ../../begun; sleep 0.5; date +%s.%N > ../../done"}]


def build_times(app: App, *names: str) -> list[tuple[float, float]]:
    """Return begin and end (Unix time) of the builds of these repos, the earliest first."""

    def time_in(name: str, file: str) -> float:
        return float((app.directory / name / file).read_text())

    return sorted((time_in(name, "begun"), time_in(name, "done")) for name in names)


def configure_two_repos(app: App, **top: Any) -> None:
    repo = {**USUAL, "url": app.upstream.url, "stages": SLOW}
    app.write({"app": repo, "blog": repo}, **top)
    app.push("1")


def test_run_prints_nothing_when_there_is_nothing_to_do(app: App) -> None:
    done = app.cli("run")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert app.cli.json("run") == {"deployments": []}


def test_run_deploys_what_is_queued(app: App) -> None:
    app.push("1")
    number = enqueue(app)
    done = app.cli("run")
    assert done.code == 0
    host = os.uname().nodename
    assert done.stdout.startswith(f"app #{number}: deploy (webhook, asked by octocat) on {host}\n")
    assert app.live == "1"
    app.push("bad")
    enqueue(app)
    assert deployed_by(app, "run") == [(2, "rolled_back")]
    app.push("2")
    enqueue(app)
    done = app.cli("run", "-q")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert app.live == "2"


def test_of_several_queued_deployments_only_the_newest_runs(app: App) -> None:
    app.push("1")
    for _ in range(3):
        enqueue(app)
    assert deployed_by(app, "run") == [(3, "succeeded")]
    assert app.cli.json("show", "1")["reason"] == "a newer request, #2, took its place"


def test_a_queued_deployment_of_the_live_revision_builds_nothing(app: App) -> None:
    app.release("1")
    enqueue(app)
    assert deployed_by(app, "run") == [(2, "succeeded")]
    document = app.cli.json("show", "2")
    assert document["reason"] == f"{app.upstream.head[:12]} was live already"
    assert [stage["name"] for stage in document["stages"]] == ["fetch"]
    assert app.status["live"]["deployment"] == 1
    assert app.status["rollback_to"] is None


def test_two_workers_share_the_queue(app: App) -> None:
    configure_two_repos(app)
    enqueue(app)
    enqueue(app, "blog")
    workers = [app.cli.start("run", "--json") for _ in range(2)]
    results = [finish(worker) for worker in workers]
    assert [result.code for result in results] == [0, 0]
    numbers = [entry["number"] for result in results for entry in result.json["deployments"]]
    assert sorted(numbers) == [1, 2]
    (_, first_end), (second_begin, _) = build_times(app, "app", "blog")
    assert first_end < second_begin, "max_running is 1"


def test_max_running_says_how_many_repos_are_built_at_a_time(app: App) -> None:
    configure_two_repos(app, max_running=2)
    calls = [app.cli.start("deploy", name) for name in ("app", "blog")]
    assert [finish(call).code for call in calls] == [0, 0]
    (_, first_end), (second_begin, _) = build_times(app, "app", "blog")
    assert second_begin < first_end


def test_by_default_one_repo_is_built_at_a_time(app: App) -> None:
    configure_two_repos(app)
    calls = [app.cli.start("deploy", name) for name in ("app", "blog")]
    assert [finish(call).code for call in calls] == [0, 0]
    (_, first_end), (second_begin, _) = build_times(app, "app", "blog")
    assert first_end < second_begin


def test_a_deployment_of_a_repo_that_is_no_longer_configured_is_cancelled(app: App) -> None:
    enqueue(app, "gone")
    done = app.cli("run")
    assert (done.code, done.stderr) == (0, "")
    document = app.cli.json("show", "1")
    assert (document["status"], document["reason"]) == (
        "cancelled",
        f"gone is no longer in {app.cli.config}",
    )
