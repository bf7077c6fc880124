"""The commands that work on the queue: run, cancel, lock, resume, sync; and the notices."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.store import checks, queue
from deployctl.store.database import Database
from tests.support.app import USUAL, App
from tests.support.bark import Bark, bark
from tests.support.cli import Gate, finish, is_running, let_time_pass
from tests.support.workers import wait_until

SLOW = [{"name": "build", "run": "date +%s.%N > ../../begun; sleep 0.5; date +%s.%N > ../../done"}]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


@pytest.fixture
def phone() -> Iterator[Bark]:
    with bark() as server:
        yield server


def enqueue(app: App, repo: str = "app") -> int:
    """Queue a deployment as a webhook does, without starting a worker."""
    with Database(str(app.state)) as db, db.writing() as connection:
        return queue.enqueue(
            connection, repo=repo, trigger="webhook", actor="octocat", now=time.time()
        )


def deployed_by(app: App, *words: str, code: int = 0) -> list[tuple[int, str]]:
    """Call ``run`` or ``sync`` and return number and status of each deployment that ran."""
    document = app.cli.json(*words, code=code)
    return [(entry["number"], entry["status"]) for entry in document["deployments"]]


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


def test_a_queued_deployment_can_be_cancelled(app: App) -> None:
    number = enqueue(app)
    done = app.cli("cancel", f"#{number}")
    actor = app.status["last"]["reason"].removeprefix("cancelled by ")
    assert (done.code, done.stdout) == (0, f"app #1: cancelled (cancelled by {actor})\n")
    assert deployed_by(app, "run") == []
    assert app.refused("cancel", "1") == "#1 is over: cancelled; nothing is left to cancel"


def test_after_a_cancelled_deployment_the_next_one_runs(app: App, gate: Gate) -> None:
    app.release("1")
    app.configure(stages=[{"name": "build", "run": gate.command}])
    app.push("2")
    enqueue(app)
    worker = app.cli.start("run")
    step = gate.wait()
    enqueue(app)
    app.configure()
    document = app.cli.json("cancel", "2")
    assert document["status"] == "cancelled"
    assert not is_running(step)
    assert app.live == "1"
    gate.open()
    assert finish(worker).code == 0
    assert app.cli.wait_for(3)["status"] == "succeeded"
    assert app.live == "2"


def test_a_waiting_command_ends_when_its_deployment_is_cancelled(app: App, gate: Gate) -> None:
    app.configure(stages=[{"name": "build", "run": gate.command}])
    process = app.cli.start("deploy", "app")
    gate.wait()
    assert app.cli("cancel", "1").code == 0
    done = finish(process)
    assert done.code == 1
    assert "app #1: cancelled (cancelled by " in done.stdout


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("7", "no deployment #7; see: deployctl history"),
        ("x", "x is not a deployment's number; see: deployctl history"),
    ],
)
def test_an_unknown_deployment_cannot_be_cancelled(app: App, number: str, message: str) -> None:
    done = app.cli("cancel", number)
    assert (done.code, done.error) == (2, message)


def test_while_a_repo_is_locked_commands_are_refused_and_queued_deployments_wait(app: App) -> None:
    app.release("1")
    app.push("2")
    done = app.cli("lock", "app", "-m", "Friday evening")
    assert (done.code, done.stdout) == (
        0,
        "app is locked; lift it with: deployctl unlock app\n",
    )
    actor = app.status["lock"]["actor"]
    message = f"app is locked by {actor}: Friday evening; lift it with: deployctl unlock app"
    assert app.refused("deploy", "app") == message
    assert app.refused("deploy", "app", "--detach") == message
    assert app.refused("deploy", "app", "--dry-run") == message
    assert app.refused("lock", "app", "-m", "again") == message
    assert app.cli.count() == 1
    number = enqueue(app)
    assert deployed_by(app, "run") == []
    assert app.status["queued"][0]["number"] == number

    done = app.cli("unlock", "app")
    assert (done.code, done.stdout) == (
        0,
        "app is unlocked; #2 starts now: deployctl logs -f 2\n",
    )
    assert app.cli.wait_for(number)["status"] == "succeeded"
    assert app.live == "2"
    assert app.cli("unlock", "app").stdout == "app was not locked\n"
    assert app.cli.json("unlock", "app") == {"repo": "app", "locked": False}


def test_a_lock_needs_a_reason(app: App) -> None:
    done = app.cli("lock", "app")
    assert done.code == 2
    assert "-m" in done.error
    assert app.status["lock"] is None


def test_sync_deploys_what_differs_from_live(app: App) -> None:
    app.push("1")
    assert deployed_by(app, "sync") == [(1, "succeeded")]
    assert app.cli.json("show", "1")["trigger"] == "cron"
    assert app.live == "1"
    done = app.cli("sync")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    app.push("2")
    assert deployed_by(app, "sync", "app") == [(2, "succeeded")]


def test_sync_does_not_deploy_a_revision_that_is_held_or_failed_before(app: App) -> None:
    app.release("1")
    app.push("bad")
    assert deployed_by(app, "sync") == [(2, "rolled_back")]
    assert deployed_by(app, "sync") == []
    app.push("")
    assert deployed_by(app, "sync") == [(3, "failed")]
    assert deployed_by(app, "sync") == []
    app.push("2")
    assert deployed_by(app, "sync") == [(4, "succeeded")]


def test_sync_does_not_deploy_a_revision_that_a_person_rolled_back(app: App) -> None:
    app.release("1")
    app.release("2")
    app.cli.json("rollback", "app")
    assert deployed_by(app, "sync") == []
    assert app.live == "1"


def test_sync_reports_a_remote_that_it_cannot_reach_and_goes_on(app: App) -> None:
    app.push("1")
    gone = str(app.directory / "gone.git")
    repo = {"url": app.upstream.url, **USUAL}
    app.write({"broken": {**repo, "url": gone}, "branchless": {**repo, "branch": "x"}, "app": repo})
    done = app.cli("sync", "--json")
    assert done.code == 0, "it fails only if no remote answers, so that cron sends no mail"
    assert [entry["repo"] for entry in done.json["deployments"]] == ["app"]
    complaints = [line for line in done.stderr.splitlines() if line.startswith("deployctl: ")]
    assert len(complaints) == 2
    assert complaints[0].startswith(f"deployctl: cannot ask {gone} for refs/heads/main: ")
    assert complaints[1].startswith(f"deployctl: {app.upstream.url} has no branch x: ")
    assert app.live == "1"


def test_sync_fails_if_no_remote_can_be_reached(app: App) -> None:
    repo = {**USUAL, "url": str(app.directory / "gone.git")}
    app.write({"one": repo, "two": repo})
    done = app.cli("sync")
    assert (done.code, len(done.stderr.splitlines())) == (1, 2)
    app.write({"one": repo, "branchless": {**repo, "url": app.upstream.url, "branch": "x"}})
    assert app.cli("sync").code == 0
    assert app.cli("sync", "one").code == 1


def test_sync_deploys_a_rolled_back_revision_again_after_resume(app: App) -> None:
    app.release("1")
    app.push("bad")
    assert deployed_by(app, "sync") == [(2, "rolled_back")]
    app.cli("resume", "app")
    assert deployed_by(app, "sync") == [(3, "rolled_back")]
    assert deployed_by(app, "sync") == []


def test_sync_deploys_a_failed_revision_again_after_the_branch_has_moved(app: App) -> None:
    app.release("1")
    failed = app.push("")
    assert deployed_by(app, "sync") == [(2, "failed")]
    app.push("2")
    assert deployed_by(app, "sync") == [(3, "succeeded")]
    app.upstream.rewind(failed)
    assert deployed_by(app, "sync") == [(4, "failed")]
    assert deployed_by(app, "sync") == []
    app.deploy("--revision", app.status["live"]["revision"], "--force")
    assert deployed_by(app, "sync") == [], (
        "the branch has not moved: a person deployed another commit"
    )


def test_sync_queues_a_tip_that_differs_from_the_running_deployment(app: App, gate: Gate) -> None:
    app.release("1")
    app.configure(stages=[{"name": "build", "run": gate.command}])
    app.push("2")
    running = app.cli.start("deploy", "app")
    gate.wait()
    assert deployed_by(app, "sync") == []
    assert app.status["queued"] == [], "the running deployment has the tip"
    app.push("3")
    assert deployed_by(app, "sync") == []
    assert [entry["number"] for entry in app.status["queued"]] == [3]
    assert deployed_by(app, "sync") == []
    assert [entry["number"] for entry in app.status["queued"]] == [3], "it is queued already"
    gate.open()
    assert finish(running).code == 0
    assert app.cli.wait_for(3)["status"] == "succeeded"
    assert app.live == "3"


@pytest.mark.parametrize(
    ("state", "deployed"), [("success", [(1, "succeeded")]), ("failure", []), (None, [])]
)
def test_sync_waits_for_the_checks_of_a_repo_with_on_ci_success(
    app: App, state: str | None, deployed: list[tuple[int, str]]
) -> None:
    app.configure(on="ci_success")
    tip = app.push("1")
    if state:
        with Database(str(app.state)) as db, db.writing() as connection:
            checks.record_report(connection, "app", tip, "build", state, "1", time.time())
    assert deployed_by(app, "sync") == deployed
    assert deployed_by(app, "sync") == []
    queued = [(entry["number"], entry["revision"]) for entry in app.status["queued"]]
    assert queued == ([] if state else [(1, tip)]), "unknown yet: it waits for the checks"
    newer = app.push("2")
    assert deployed_by(app, "sync") == []
    assert [entry["revision"] for entry in app.status["queued"]] == [newer]


def test_sync_queues_nothing_while_a_rollback_runs(app: App, gate: Gate) -> None:
    """The rollback may leave the tip of the branch, which is held afterwards."""
    app.release("1")
    app.release("2")
    app.configure(restart=gate.command)
    running = app.cli.start("rollback", "app")
    gate.wait()
    assert deployed_by(app, "sync") == []
    assert app.status["queued"] == []
    gate.open()
    assert finish(running).code == 0


def test_sync_lifts_a_hold_when_the_branch_has_moved(app: App) -> None:
    first = app.release("1")
    app.push("bad")
    app.deploy(code=3)
    assert deployed_by(app, "sync") == []
    assert app.status["hold"] is not None
    app.upstream.rewind(first["revision"])
    assert deployed_by(app, "sync") == []
    assert app.status["hold"] is None


def test_what_sync_queues_waits_while_a_repo_is_locked(app: App) -> None:
    app.push("1")
    app.cli("lock", "app", "-m", "why")
    assert deployed_by(app, "sync") == []
    app.cli("unlock", "app")
    wait_until(lambda: app.live == "1")


def configure_notices(app: App, phone: Bark, **channels: Any) -> None:
    app.configure(top={"channels": {"phone": phone.url(), **channels}}, notify=["phone"])


def test_notices_are_listed_with_their_state_per_channel(app: App, phone: Bark) -> None:
    configure_notices(app, phone)
    assert app.cli("notices").stdout == "no notices yet\n"
    app.push("1")
    app.deploy()
    title = f"app: deployed {app.upstream.head[:7]}"
    assert phone.titles == [title]
    done = app.cli("notices")
    assert done.stdout.endswith(f"  {title}  [phone: sent]\n")
    (notice,) = app.cli.json("notices")["notices"]
    assert set(notice) >= {
        "id",
        "deployment",
        "repo",
        "event",
        "title",
        "body",
        "created_at",
        "channels",
    }
    assert (notice["deployment"], notice["event"]) == (1, "succeeded")
    (channel,) = notice["channels"]
    assert set(channel) == {"name", "state", "attempts", "last_error", "sent_at"}
    assert (channel["name"], channel["state"]) == ("phone", "sent")


def test_a_notice_that_cannot_be_sent_does_not_change_the_outcome(app: App) -> None:
    with bark("error", "well") as broken:
        configure_notices(app, broken)
        app.push("1")
        document = app.deploy()
        assert document["status"] == "succeeded"
        (notice,) = app.cli.json("notices")["notices"]
        assert notice["channels"][0]["state"] != "sent"
        assert notice["channels"][0]["attempts"] == 1
        assert app.cli("run").code == 0
        assert len(broken.posts) == 1, "not due yet"


def test_notices_can_be_followed_line_by_line(app: App, phone: Bark) -> None:
    configure_notices(app, phone)
    app.release("1")
    process = app.cli.start("notices", "-f", "--json")
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["deployment"] == 1
        app.release("2")
        assert json.loads(process.stdout.readline())["deployment"] == 2
    finally:
        process.terminate()
        finish(process)


def test_notices_can_be_followed_before_the_record_exists(app: App, phone: Bark) -> None:
    configure_notices(app, phone)
    process = app.cli.start("notices", "-f", "--json")
    try:
        let_time_pass(1.5)
        assert not app.state.exists()
        app.release("1")
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 10)[0], (
            "the notice was not shown within 10 s"
        )
        assert json.loads(process.stdout.readline())["deployment"] == 1
    finally:
        process.terminate()
        finish(process)


def test_a_test_notice_goes_to_one_channel(app: App, phone: Bark) -> None:
    configure_notices(app, phone)
    done = app.cli("notify", "phone", "-m", "Hello")
    assert (done.code, done.stdout) == (0, "sent to phone\n")
    assert phone.posts[0][1]["body"] == "Hello"
    done = app.cli("notify", "phon")
    assert done.code == 2
    assert done.error == (
        f"no channel phon in {app.cli.config}, did you mean phone? (there are: phone)"
    )
    with bark("error") as broken:
        configure_notices(app, broken)
        done = app.cli("notify", "phone")
    assert done.code == 1
    assert done.error.startswith("the notice did not reach phone: ")


def test_listing_notices_writes_no_file(app: App) -> None:
    assert app.cli.json("notices") == {"notices": []}
    assert not app.state.exists()
