"""``deployctl rollback``: it goes back to a good release, and holds the revision it leaves."""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest

from deployctl.store import queue
from deployctl.store.database import Database
from tests.support.app import App, roll_back
from tests.support.cli import Gate, finish
from tests.support.upstream import git


def test_it_goes_to_the_last_good_release_before_the_live_one(app: App) -> None:
    app.configure(restart="cat version >> ../../restarts")
    first, second = app.release("1"), app.release("2")
    document = roll_back(app)
    assert (document["task"], document["status"], document["trigger"]) == (
        "rollback",
        "succeeded",
        "cli",
    )
    assert (document["revision"], document["release"]) == (first["revision"], first["release"])
    assert (document["rollback_of"], document["subject"]) == (second["number"], "Version 1")
    assert document["previous_revision"] == second["revision"]
    assert [stage["name"] for stage in document["stages"]] == [
        "prepare",
        "switch",
        "restart",
        "healthcheck",
    ]
    assert (app.path / "restarts").read_text() == "1\n2\n1\n"
    assert (app.live, app.status["live"]["deployment"]) == ("1", document["number"])
    assert app.status["rollback_to"] is None


def test_the_revision_it_leaves_is_held_until_the_branch_moves(app: App) -> None:
    app.release("1")
    second = app.release("2")
    roll_back(app)
    hold = app.status["hold"]
    assert hold["revision"] == second["revision"]
    assert hold["why"] == "deployment #3 rolled back from it"
    message = app.refused("deploy", "app")
    assert message.startswith(f"{second['revision'][:12]} is held: ")
    assert "(deployctl resume app)" in message
    assert "(deployctl deploy app --force)" in message
    assert app.cli.json("deploy", "app", code=5)["error"] == {"code": 5, "message": message}
    assert app.release("3")["status"] == "succeeded"
    assert app.status["hold"] is None


def test_once_the_branch_has_moved_a_held_revision_may_be_deployed(app: App) -> None:
    app.release("1")
    second = app.release("2")
    roll_back(app)
    words = ("deploy", "app", "--revision", second["revision"])
    assert "is held" in app.refused(*words)
    app.push("3")
    before = app.snapshot()
    assert app.cli(*words, "-n").code == 0
    assert app.snapshot() == before
    assert app.cli(*words).code == 0
    assert (app.live, app.status["hold"]) == ("2", None)


def test_resume_lifts_the_hold(app: App) -> None:
    app.release("1")
    app.release("2")
    roll_back(app)
    assert app.cli("resume", "app").stdout.startswith("app is not held any more: ")
    assert app.cli("resume", "app").stdout == "app was not held\n"
    assert app.cli.json("resume", "app") == {"repo": "app", "held": False}
    assert app.deploy()["status"] == "succeeded"
    assert app.live == "2"


@pytest.mark.parametrize("way", ["number", "#number", "sha", "short sha"])
def test_the_release_can_be_named(app: App, way: str) -> None:
    first = app.release("1")
    app.release("2")
    app.release("3")
    to = {
        "number": "1",
        "#number": "#1",
        "sha": first["revision"].upper(),
        "short sha": first["revision"][:6],
    }[way]
    assert roll_back(app, "--to", to)["revision"] == first["revision"]
    assert app.live == "1"


def test_a_release_that_does_not_exist_is_refused(app: App) -> None:
    app.release("1")
    app.release("2")
    app.push("")
    app.deploy(code=1)
    for to in ("9", "3", "deadbeef", "2"):
        assert app.refused("rollback", "app", "--to", to) == (
            f"app has no release {to} to roll back to; see: deployctl rollback app --list"
        )
    assert app.live == "2"


def test_with_nothing_to_go_back_to_it_is_refused(app: App) -> None:
    expected = "app has no earlier good release to roll back to; see: deployctl rollback app --list"
    assert app.refused("rollback", "app") == expected
    assert app.cli("rollback", "app", "--list").stdout == "app has nothing to go back to\n"
    app.release("1")
    assert app.refused("rollback", "app") == expected
    assert roll_back(app, "--list") == {"releases": []}
    assert app.cli.count() == 1


def test_the_candidates_are_listed_with_age_subject_and_actor(app: App) -> None:
    for version in "123":
        app.release(version)
    lines = app.cli("rollback", "app", "--list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["*", "#2"], ["#1", short_sha(app, 1)]]
    assert lines[0].endswith(f"Version 2 ({app.cli.json('show', '1')['actor']})")
    assert " ago  " in lines[1] or "just now" in lines[1]
    listed = roll_back(app, "--list")["releases"]
    assert {f" {entry['size'] // 1024} KB  " in lines[0] for entry in listed} == {True}
    assert [(entry["deployment"], entry["default"]) for entry in listed] == [(2, True), (1, False)]
    assert set(listed[0]) >= {"deployment", "release", "revision", "subject", "actor"}
    assert listed[0]["built_at"] == app.cli.json("show", "2")["finished_at"]


def short_sha(app: App, number: int) -> str:
    return str(app.cli.json("show", str(number))["revision"])[:12]


@pytest.mark.parametrize(("option", "verb"), [("--check", "usable: switch"), ("-n", "switch")])
def test_the_target_can_be_checked_without_switching(app: App, option: str, verb: str) -> None:
    app.configure(restart=["touch", "x"])
    first = app.release("1")
    app.release("2")
    before = app.snapshot()
    done = app.cli("rollback", "app", option)
    assert done.code == 0
    assert done.stdout.splitlines() == [
        f"{verb} app to {first['revision'][:12]} in {app.path}/releases/{first['release']}",
        "restart: touch x [repos.yml]",
        "health check: ! grep bad version [repos.yml]",
    ]
    assert roll_back(app, option)["revision"] == first["revision"]
    assert (app.live, app.snapshot()) == ("2", before)


def test_check_detects_that_a_release_is_gone(app: App) -> None:
    first = app.release("1")
    app.release("2")
    (app.path / "releases" / first["release"] / "REVISION").unlink()
    for option in ("--check", "-n"):
        assert "no earlier good release" in app.refused("rollback", "app", option)
    revision = first["revision"][:12]
    assert app.refused("rollback", "app", "--check", "--to", "1") == (
        f"{revision} is no longer on disk: a rollback would build it again; see: "
        f"deployctl rollback app --to {revision} -n"
    )
    before = app.snapshot()
    assert app.cli("rollback", "app", "-n", "--to", "1").stdout.splitlines() == [
        f"build {revision} again in {app.path}/releases/: it is no longer on disk",
        "stage test: grep . version [repos.yml]",
        f"switch app to {revision} in {app.path}/releases/",
        "health check: ! grep bad version [repos.yml]",
    ]
    assert app.snapshot() == before


def test_check_detects_that_a_shared_file_is_missing(app: App) -> None:
    app.release("1")
    app.release("2")
    app.configure(shared_files=["settings.ini"])
    for words in (("--check",), ("--check", "--to", "1")):
        done = app.cli("rollback", "app", *words)
        assert (done.code, done.stdout) == (1, "")
        assert done.error.startswith(
            f"the shared file {app.path}/shared/settings.ini does not exist: create it "
        )
    assert app.live == "2"
    (app.path / "shared" / "settings.ini").touch()
    assert app.cli("rollback", "app", "--check").code == 0


def test_the_plan_shows_no_secret(app: App) -> None:
    app.push("1", "Use the password opensesame")
    app.deploy()
    app.release("2")
    app.configure(secrets={"PASSWORD": "opensesame"}, restart=["login", "opensesame"])
    for words in (("-n",), ("--check",)):
        done = app.cli("rollback", "app", *words)
        assert done.code == 0
        assert "restart: login [hidden] [repos.yml]" in done.stdout.splitlines()
        shown = app.cli("rollback", "app", *words, "--json")
        assert shown.json["subject"] == "Use the password [hidden]"
        assert "opensesame" not in done.stdout + shown.stdout


def test_a_rollback_can_be_rolled_back(app: App) -> None:
    app.release("1")
    second = app.release("2")
    roll_back(app)
    document = roll_back(app, "--to", "2")
    assert (document["revision"], document["status"]) == (second["revision"], "succeeded")
    assert app.live == "2"
    assert app.deploy()["status"] == "succeeded", (
        "a person went back to it, so it is no longer held"
    )
    assert app.status["rollback_to"]["deployment"] == 1
    roll_back(app)
    assert (app.live, app.status["rollback_to"]) == ("1", None)


def test_a_rollback_prefers_a_release_of_another_revision(app: App) -> None:
    app.release("1")
    second = app.release("2")
    app.deploy()
    assert app.status["rollback_to"]["deployment"] == 1
    roll_back(app)
    assert (app.live, app.status["hold"]["revision"]) == ("1", second["revision"])


def test_without_another_revision_a_rollback_takes_an_older_release_of_the_same(app: App) -> None:
    first = app.release("1")
    app.deploy()
    assert app.status["rollback_to"]["release"] == first["release"]
    assert roll_back(app)["release"] == first["release"]
    assert app.status["hold"] is None, "the same revision is live, so it must not be held"


def test_two_rollbacks_go_back_two_releases(app: App) -> None:
    for version in "123":
        app.release(version)
    roll_back(app)
    assert app.live == "2"
    roll_back(app)
    assert app.live == "1"
    assert "no earlier good release" in app.refused("rollback", "app")


def test_a_rollback_that_fails_goes_back_again_and_the_next_one_further(app: App) -> None:
    app.configure(
        healthcheck={"command": "! grep bad version", "deadline": 2, "interval": 1, "stable_for": 0}
    )
    app.release("0")
    first = app.release("1")
    app.release("2")
    app.configure(
        healthcheck={"command": "! grep 1 version", "deadline": 2, "interval": 1, "stable_for": 0}
    )
    document = roll_back(app, code=3)
    assert (document["status"], document["failure"]["stage"]) == ("rolled_back", "healthcheck")
    assert app.live == "2"
    assert app.status["hold"]["revision"] == first["revision"], (
        "the revision that failed is held, too"
    )
    assert app.status["rollback_to"]["deployment"] == 1, "not to what is held"
    assert roll_back(app)["status"] == "succeeded"
    assert app.live == "0"


def test_a_target_that_fails_where_nothing_was_well_before_is_shown_as_not_well(app: App) -> None:
    app.configure(auto_rollback=False)
    app.release("1")
    app.push("bad")
    app.deploy(code=4)
    app.configure(healthcheck={"command": "! grep 1 version", "deadline": 1})
    document = roll_back(app, code=1)
    assert (document["status"], app.live) == ("failed", "1")
    assert not app.status["live"]["well"]


def test_the_target_is_chosen_when_the_rollback_starts(app: App, gate: Gate) -> None:
    """A rollback that is requested during a deployment undoes that deployment."""
    app.release("1")
    second = app.release("2")
    app.configure(stages=[{"name": "build", "run": gate.command}])
    app.push("3")
    deploying = app.cli.start("deploy", "app")
    gate.wait()
    rolling = app.cli.start("rollback", "app", "--json")
    queued = app.cli.wait_for(4, "queued")
    assert (queued["revision"], queued["release"], queued["rollback_of"]) == (None, None, 3)
    gate.open()
    assert (finish(deploying).code, finish(rolling).code) == (0, 0)
    ended = app.cli.json("show", "4")
    assert (ended["revision"], ended["release"]) == (second["revision"], second["release"])
    assert (ended["rollback_of"], ended["subject"], app.live) == (3, "Version 2", "2")


@pytest.mark.parametrize(
    ("to", "why"), [((), "no earlier good release"), (("--to", "9"), "no rel")]
)
def test_a_queued_rollback_without_a_target_is_refused_when_it_starts(
    app: App, gate: Gate, to: tuple[str, ...], why: str
) -> None:
    app.configure(stages=[{"name": "build", "run": gate.command}])
    app.push("1")
    deploying = app.cli.start("deploy", "app")
    gate.wait()
    rolling = app.cli.start("rollback", "app", *to, "--json")
    app.cli.wait_for(2, "queued")
    gate.open()
    assert finish(deploying).code == 0
    done = finish(rolling)
    assert (done.code, done.json["error"]["code"]) == (5, 5)
    assert why in done.json["error"]["message"]
    ended = app.cli.json("show", "2")
    assert (ended["status"], ended["reason"]) == ("cancelled", done.json["error"]["message"])
    assert app.live == "1"


@pytest.mark.parametrize(("to", "version"), [(None, "2"), ("1", "1"), ("#1", "1")])
def test_a_webhook_may_order_a_rollback(app: App, to: str | None, version: str) -> None:
    for pushed in "123":
        app.release(pushed)
    with Database(str(app.state)) as db, db.writing() as connection:
        queue.enqueue(
            connection,
            repo="app",
            trigger="webhook",
            actor="octocat",
            now=time.time(),
            order=queue.Order.rollback(to),
        )
    (ended,) = app.cli.json("run")["deployments"]
    assert (ended["status"], ended["trigger"], ended["rollback_of"]) == ("succeeded", "webhook", 3)
    assert app.live == version
    assert app.status["hold"]["revision"] == app.upstream.head


def test_a_failed_rollback_to_the_same_revision_holds_nothing(app: App) -> None:
    first = app.release("1")
    app.deploy()
    check = f"! pwd -P | grep {first['release']}"
    app.configure(healthcheck={"command": check, "deadline": 2, "interval": 1, "stable_for": 0})
    assert roll_back(app, code=3)["status"] == "rolled_back"
    assert app.status["hold"] is None


def test_a_locked_repo_is_not_rolled_back(app: App) -> None:
    app.release("1")
    app.release("2")
    app.cli("lock", "app", "-m", "Friday")
    assert app.refused("rollback", "app").endswith(": Friday; lift it with: deployctl unlock app")
    assert app.cli("rollback", "app", "--list").code == 0
    assert app.live == "2"


def test_a_checkout_in_place_is_rolled_back_too(app: App) -> None:
    app.configure(strategy="in_place")
    first, second = app.release("1"), app.release("2")
    assert app.status["rollback_to"]["revision"] == first["revision"]
    assert roll_back(app)["revision"] == first["revision"]
    assert git(app.path, "rev-parse", "HEAD") == first["revision"]
    assert app.status["hold"]["revision"] == second["revision"]
    assert roll_back(app, "--to", second["revision"][:8])["status"] == "succeeded"
    assert app.live == "2"


def release_four_keep_two(app: App, **keys: Any) -> dict[str, Any]:
    """Release four versions, keep the newer two, and return the deployment of the first."""
    app.configure(keep_releases=2, **keys)
    first, *_ = (app.release(version) for version in "1234")
    assert [entry["deployment"] for entry in roll_back(app, "--list")["releases"]] == [3]
    return first


def test_what_was_live_before_a_push_is_gone_back_to_and_never_removed(app: App) -> None:
    release_four_keep_two(app)
    roll_back(app, "--to", "3")
    old = app.status["live"]["release"]
    for version in "567":
        roll_back(app, "--to", "3") if version != "5" else None
        app.release(version)
        assert app.status["rollback_to"]["release"] == old
    roll_back(app)
    assert app.live == "3"


def test_a_release_that_was_removed_is_not_the_default_target(app: App) -> None:
    release_four_keep_two(app)
    roll_back(app)
    assert (app.live, app.status["rollback_to"]) == ("3", None)
    assert "no earlier good release" in app.refused("rollback", "app")


@pytest.mark.parametrize("mirror", ["with its mirror", "without a mirror"])
@pytest.mark.parametrize("way", ["number", "sha"])
def test_a_release_that_was_removed_is_built_again(app: App, way: str, mirror: str) -> None:
    first = release_four_keep_two(app)
    if mirror == "without a mirror":
        shutil.rmtree(app.state / "mirrors")
    document = roll_back(app, "--to", "1" if way == "number" else first["revision"][:8])
    assert [stage["name"] for stage in document["stages"]] == [
        "prepare",
        "test",
        "switch",
        "healthcheck",
    ]
    assert (document["revision"], document["rollback_of"]) == (first["revision"], 4)
    assert (app.live, app.status["live"]["release"]) == ("1", document["release"])
    assert (app.path / "current" / ".complete").exists()
    assert app.status["hold"]["revision"] == app.upstream.head
    assert app.status["rollback_to"] is None, "it counts as old as it was at first"
    app.release("5")
    assert roll_back(app)["status"] == "succeeded"
    assert app.live == "1", "it was live when version 5 came"


def test_a_release_with_a_missing_or_incomplete_directory_is_built_again(app: App) -> None:
    first, second = app.release("1"), app.release("2")
    app.release("3")
    shutil.rmtree(app.path / "releases" / first["release"])
    (app.path / "releases" / second["release"] / ".complete").unlink()
    assert roll_back(app, "--list") == {"releases": []}
    assert roll_back(app, "--to", "2")["release"] == second["release"]
    assert roll_back(app, "--to", "1")["release"] == first["release"]
    assert app.live == "1"
    assert len(list((app.path / "releases").iterdir())) == 3


def test_a_release_that_cannot_be_built_again_changes_nothing(app: App) -> None:
    release_four_keep_two(app)
    app.configure(keep_releases=2, stages=[{"name": "test", "run": "! grep 1 version"}])
    document = roll_back(app, "--to", "1", code=1)
    assert (document["status"], document["failure"]["stage"]) == ("failed", "test")
    assert (app.live, app.status["hold"]) == ("4", None)
    assert len(list((app.path / "releases").iterdir())) == 2
    app.configure(keep_releases=2)
    assert roll_back(app, "--to", "1")["status"] == "succeeded"


def test_in_place_a_commit_that_the_checkout_has_lost_comes_from_the_mirror(app: App) -> None:
    """After a force push no branch reaches the commit."""
    app.configure(strategy="in_place", keep_releases=2)
    base = app.upstream.head
    first = app.release("1")
    app.upstream.rewind(base)
    for version in "234":
        app.release(version)
    git(app.path, "reflog", "expire", "--expire=now", "--all")
    git(app.path, "gc", "--quiet", "--prune=now")
    assert first["revision"] not in git(
        app.path, "cat-file", "--batch-check", "--batch-all-objects"
    )
    assert roll_back(app, "--to", "1")["revision"] == first["revision"]
    assert app.live == "1"


def test_the_live_release_and_the_one_before_are_never_removed(app: App) -> None:
    app.configure(keep_releases=1)
    app.release("1")
    app.release("2")
    roll_back(app)
    for _ in range(2):
        app.push("")
        app.deploy(code=1)
    assert app.live == "1"
    app.release("3")
    assert app.status["rollback_to"]["deployment"] in (1, 2)
    roll_back(app)
    assert app.live == "1"


def test_an_unknown_repo_is_refused_with_a_similar_name(app: App) -> None:
    done = app.cli("rollback", "ap")
    assert done.code == 2
    assert done.error == f"no repo ap in {app.cli.config}, did you mean app? (there are: app)"
