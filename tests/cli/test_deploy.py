"""``deployctl deploy``: the release that goes live, the output, and the exit code."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

import pytest

from tests.support.app import USUAL, App
from tests.support.cli import Gate, finish
from tests.support.upstream import git

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = {
    "number",
    "repo",
    "task",
    "trigger",
    "actor",
    "status",
    "ref",
    "revision",
    "previous_revision",
    "release",
    "delivery",
    "rollback_of",
    "queued_at",
    "started_at",
    "finished_at",
    "duration",
    "reason",
    "stages",
}
FAILURE = {
    "stage",
    "step",
    "command",
    "exit_code",
    "signal",
    "timed_out",
    "host",
    "message",
    "tail",
}


def test_a_good_deployment_leaves_a_release_that_names_its_revision(app: App) -> None:
    revision = app.push("1")
    done = app.deploy()
    release = f"1-{revision[:12]}"
    assert os.readlink(app.path / "current") == f"releases/{release}"
    assert (app.path / "current" / "REVISION").read_text() == f"{revision}\n"
    assert sorted(path.name for path in app.path.iterdir()) == ["current", "releases", "shared"]
    assert (done["status"], done["revision"], done["release"]) == ("succeeded", revision, release)
    assert (app.path / "current" / "version").stat().st_mode & 0o777 == 0o644
    assert (app.path / "releases" / release).stat().st_mode & 0o777 == 0o755
    assert app.state.stat().st_mode & 0o777 == 0o700
    files = [path for path in app.state.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_the_document_of_a_deployment_has_every_field(app: App) -> None:
    app.release("1")
    revision = app.push("2")
    document = app.deploy()
    assert set(document) >= FIELDS
    assert "failure" not in document
    assert TIME.fullmatch(document["queued_at"])
    assert document["queued_at"] <= document["started_at"] <= document["finished_at"]
    assert 0 < document["duration"] < 30
    assert len(document["previous_revision"]) == 40
    for field, value in {
        "number": 2,
        "repo": "app",
        "task": "deploy",
        "trigger": "cli",
        "status": "succeeded",
        "ref": "refs/heads/main",
        "revision": revision,
        "subject": "Version 2",
        "delivery": None,
        "rollback_of": None,
        "reason": None,
    }.items():
        assert document[field] == value, field
    names = ["fetch", "prepare", "test", "switch", "healthcheck"]
    assert [stage["name"] for stage in document["stages"]] == names
    stage = document["stages"][2]
    assert set(stage) == {"name", "status", "started_at", "duration", "usual", "host", "steps"}
    assert (stage["status"], stage["host"], stage["usual"]) == ("succeeded", None, None)
    assert TIME.fullmatch(stage["started_at"])
    (step,) = stage["steps"]
    assert set(step) == {"command", "exit_code", "duration"}
    assert (step["command"], step["exit_code"]) == ("grep . version", 0)
    assert app.cli.json("show", "2") == document
    assert app.cli.json("history")["deployments"][0] == document


def test_with_json_the_progress_goes_to_stderr(app: App) -> None:
    app.push("1")
    done = app.cli("deploy", "app", "--json")
    assert done.json["status"] == "succeeded"
    assert "==> test\n$ grep . version\n1\n" in done.stderr
    done = app.cli("deploy", "app")
    assert done.stdout.startswith("app #2: deploy ")
    assert done.stdout.endswith(f"app #2: {app.upstream.head[:12]} is live\n")
    assert done.stderr == ""


def test_a_failed_stage_leaves_the_old_release_live(app: App) -> None:
    app.release("1")
    app.configure(stages=[{"name": "build", "run": ["echo one", "echo two; echo 3 >&2; exit 7"]}])
    app.push("2")
    document = app.deploy(code=1)
    assert document["status"] == "failed"
    assert set(document["failure"]) == FAILURE
    assert document["failure"] == {
        "stage": "build",
        "step": 2,
        "command": "echo two; echo 3 >&2; exit 7",
        "exit_code": 7,
        "signal": None,
        "timed_out": False,
        "host": None,
        "message": "step 2 failed: exit code 7",
        "tail": "two\n3",
    }
    assert app.live == "1"
    assert [path.name[:2] for path in (app.path / "releases").iterdir()] == ["1-"]
    assert app.status["hold"] is None
    done = app.cli("deploy", "app")
    assert done.stdout.splitlines()[-3:] == [
        "app #3: failed; what was live stays live",
        "failed in build: step 2 failed: exit code 7",
        "more: deployctl show 3, deployctl logs 3",
    ]


def test_a_release_that_fails_its_health_check_is_rolled_back_and_held(app: App) -> None:
    first = app.release("1")
    bad = app.push("bad")
    document = app.deploy(code=3)
    assert document["status"] == "rolled_back"
    assert document["failure"]["stage"] == "healthcheck"
    assert document["failure"]["exit_code"] == 1
    assert document["failure"]["tail"] == "bad"
    assert app.live == "1"
    assert app.status["hold"]["revision"] == bad
    assert app.status["live"]["revision"] == first["revision"]
    assert app.status["live"]["deployment"] == 1


def test_a_deployment_whose_rollback_fails_too_is_degraded(app: App) -> None:
    app.configure(restart="[ ! -e ../../broken ]")
    app.release("1")
    (app.path / "broken").touch()
    app.push("2")
    document = app.deploy(code=4)
    assert (document["status"], document["failure"]["stage"]) == ("degraded", "restart")
    assert document["reason"] == (
        "going back failed too, in rollback restart: step 1 failed: exit code 1"
    )
    assert app.live == "1"
    assert app.cli("status", "--exit-code").code == 1


def test_a_first_deployment_that_fails_its_check_stays_until_the_next_replaces_it(
    app: App,
) -> None:
    bad = app.push("bad")
    done = app.cli("deploy", "app")
    outcome, failure, more = done.stdout.splitlines()[-3:]
    assert outcome == (
        f"app #1: failed; {bad[:12]} is live, and not well "
        "(a first deployment has nothing to go back to: it stays live)"
    )
    assert failure.startswith("failed in healthcheck: the command failed: exit code 1 (")
    assert more == "more: deployctl show 1, deployctl logs 1"
    assert app.live == "bad"
    live = app.status["live"]
    assert (live["revision"], live["deployment"], live["well"]) == (bad, 1, False)
    assert (app.status["hold"], app.status["rollback_to"]) == (None, None)
    assert "NOT WELL: its check failed" in app.cli("status").stdout
    app.push("bad again")
    document = app.deploy(code=1)
    assert (document["status"], document["previous_revision"]) == ("failed", bad)
    assert document["reason"] == "what was live before was not well either: it stays live"
    assert app.live == "bad again"
    assert len(list((app.path / "releases").iterdir())) == 1
    assert app.release("2")["status"] == "succeeded"
    assert app.status["live"]["well"]
    assert len(list((app.path / "releases").iterdir())) == 1


def test_a_first_deployment_that_fails_before_its_switch_leaves_nothing_live(app: App) -> None:
    app.push("")
    outcome = app.cli("deploy", "app").stdout.splitlines()[-3]
    assert outcome == "app #1: failed; nothing is live"
    assert not (app.path / "current").is_symlink()
    assert list((app.path / "releases").iterdir()) == []
    assert (app.status["live"], app.status["hold"]) == (None, None)


def test_the_same_commit_may_be_deployed_again_after_a_first_failed_check(app: App) -> None:
    app.push("bad")
    app.deploy(code=1)
    app.configure(healthcheck=None)
    assert app.deploy()["status"] == "succeeded"
    assert app.status["live"]["well"]


def test_what_is_live_is_shown_while_it_is_checked(app: App, gate: Gate) -> None:
    app.release("1")
    app.configure(healthcheck={"command": gate.command})
    new = app.push("2")
    running = app.cli.start("deploy", "app")
    gate.wait()
    live = app.status["live"]
    assert (live["revision"], live["deployment"], live["checking"]) == (new, 2, True)
    assert "(#2, being checked)" in app.cli("status").stdout
    gate.open()
    assert finish(running).code == 0
    assert (app.status["live"]["checking"], app.status["live"]["well"]) == (False, True)


def test_a_link_that_leads_to_nothing_is_told(app: App) -> None:
    app.release("1")
    release = app.status["live"]["release"]
    shutil.rmtree(app.path / "releases" / release)
    gone = f"current leads to releases/{release}, which is gone: deployctl deploy app"
    assert gone in app.status["problem"]
    assert app.cli("status", "--exit-code").code == 1
    app.release("2")
    assert app.status["problem"] is None


def test_without_auto_rollback_the_failed_release_stays(app: App) -> None:
    app.configure(auto_rollback=False)
    app.release("1")
    app.push("bad")
    document = app.deploy(code=4)
    assert document["reason"] == "auto_rollback is off: the failed release stays live"
    assert app.live == "bad"
    assert app.status["rollback_to"]["deployment"] == 1
    assert app.cli("rollback", "app").code == 0
    assert app.live == "1"


def test_a_revision_of_the_branch_can_be_chosen(app: App) -> None:
    old = app.push("1")
    app.push("2")
    assert app.deploy("--revision", old)["revision"] == old
    assert app.live == "1"
    assert app.deploy()["status"] == "succeeded"
    assert app.deploy("--revision", old[:8].upper())["revision"] == old
    assert app.live == "1"


def test_a_revision_that_is_not_on_the_branch_needs_force(app: App) -> None:
    app.release("1")
    app.upstream.branch("side")
    side = app.push("2")
    for words in (("--revision", side), ("--revision", side, "-n")):
        message = app.refused("deploy", "app", *words)
        assert message == (
            f"{side} is not reachable from refs/heads/main: deploy a commit of that branch, "
            "or --force"
        )
    assert app.live == "1"
    assert app.deploy("--revision", side, "--force")["revision"] == side
    assert app.live == "2"


def test_a_revision_that_does_not_exist_is_refused(app: App) -> None:
    app.release("1")
    error = app.deploy("--revision", "0" * 40, code=5)["error"]
    assert error["code"] == 5
    assert error["message"].startswith(f"{'0' * 40} is not reachable from refs/heads/main")
    done = app.cli("deploy", "app", "--revision", "main")
    assert done.code == 2
    assert "for a branch or tag there is --ref" in done.error


def test_another_branch_or_tag_can_be_chosen(app: App) -> None:
    app.release("1")
    app.upstream.tag("v1")
    app.upstream.branch("fix/größe")
    side = app.push("2", "Größer")
    document = app.deploy("--ref", "fix/größe")
    assert (document["ref"], document["revision"]) == ("refs/heads/fix/größe", side)
    assert document["subject"] == "Größer"
    assert app.live == "2"
    assert app.deploy("--ref", "v1")["ref"] == "refs/tags/v1"
    assert app.live == "1"
    done = app.cli("deploy", "app", "--ref", "gone")
    assert (done.code, done.error) == (2, f"{app.upstream.url} has no branch or tag gone")
    done = app.cli("deploy", "app", "--ref", "--evil")
    assert done.code == 2


def test_if_changed_does_nothing_if_the_tip_is_live(app: App) -> None:
    first = app.deploy("--if-changed", code=1)
    assert first["failure"]["stage"] == "test"  # there is no version yet
    app.release("1")
    assert app.deploy("--if-changed")["number"] == 2
    done = app.cli("deploy", "app", "--if-changed")
    head = app.upstream.head
    assert (done.code, done.stdout) == (0, f"app: {head[:12]} is live already, nothing to do\n")
    assert app.deploy("--if-changed", "--revision", head[:9])["number"] == 2
    app.push("2")
    assert app.deploy("--if-changed")["number"] == 3


def test_a_held_revision_is_deployed_only_with_force(app: App) -> None:
    app.configure(healthcheck={**USUAL["healthcheck"], "command": "test -e ../../mended"})
    (app.path).mkdir()
    (app.path / "mended").touch()
    app.release("1")
    (app.path / "mended").unlink()
    held = app.push("2")
    assert app.deploy(code=4)["status"] == "degraded"
    assert app.status["hold"]["revision"] == held
    (app.path / "mended").touch()
    message = app.refused("deploy", "app")
    assert message == (
        f"{held[:12]} is held: deployment #2 rolled back from it; push a fix, or lift the hold "
        "(deployctl resume app), or insist (deployctl deploy app --force)"
    )
    assert app.refused("deploy", "app", "--dry-run") == message
    assert app.cli.count() == 2
    assert app.deploy("--force")["status"] == "succeeded"
    assert app.status["hold"] is None


def test_a_dry_run_prints_the_plan_and_changes_nothing(app: App) -> None:
    app.configure(restart=["test", "-e", "version"])
    app.release("1")
    revision = app.push("2", "Second")
    before, history = app.snapshot(), app.cli("history").stdout
    done = app.cli("deploy", "app", "-n")
    assert done.code == 0
    assert done.stdout.splitlines() == [
        f"fetch refs/heads/main from {app.upstream.url}: {revision[:12]} Second",
        f"live now: {app.status['live']['revision'][:12]}",
        f"prepare a release in {app.path}/releases/",
        "stage test: grep . version [repos.yml]",
        f"switch {app.path}/current",
        "restart: test -e version [repos.yml]",
        "health check: ! grep bad version [repos.yml]",
    ]
    assert app.cli.json("deploy", "app", "-n")["plan"] == done.stdout.splitlines()
    assert app.cli("deploy", "app", "-n", "--revision", app.upstream.head[:7]).code == 0
    assert (app.snapshot(), app.cli("history").stdout, app.live) == (before, history, "1")


def test_with_nothing_new_the_plan_is_empty(app: App) -> None:
    revision = app.release("1")["revision"]
    done = app.cli("deploy", "app", "-n", "--if-changed")
    assert (done.code, done.stdout) == (0, f"app: {revision[:12]} is live already, nothing to do\n")
    assert app.cli.json("deploy", "app", "-n", "--if-changed") == {"repo": "app", "plan": []}
    app.push("2")
    assert app.cli.json("deploy", "app", "-n", "--if-changed")["plan"]


def test_several_repos_end_with_the_worst_of_their_codes(app: App) -> None:
    repo = {"url": app.upstream.url, **USUAL}
    app.write({"app": repo, "bad": {**repo, "stages": [{"name": "no", "run": "false"}]}})
    app.push("1")
    document = app.cli.json("deploy", "bad", "app", "bad", code=1)
    outcomes = [(entry["repo"], entry["status"]) for entry in document["deployments"]]
    assert outcomes == [("bad", "failed"), ("app", "succeeded")]
    assert document["errors"] == []
    assert app.cli("lock", "app", "-m", "why").code == 0
    done = app.cli("deploy", "--all", "--json")
    assert [entry["repo"] for entry in done.json["deployments"]] == ["bad"]
    (refused,) = done.json["errors"]
    assert (refused["repo"], refused["code"]) == ("app", 5)
    assert refused["message"].startswith("app is locked by ")
    assert f"deployctl: app: {refused['message']}\n" in done.stderr
    assert done.code == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a repo, or say --all (there are: app)"),
        (["--all", "app"], "name repos or say --all, not both"),
    ],
)
def test_without_a_repo_or_all_it_is_wrong_usage(app: App, words: list[str], message: str) -> None:
    done = app.cli("deploy", *words)
    assert (done.code, done.error) == (2, message)


def test_detach_prints_the_number_and_a_worker_deploys_it(app: App) -> None:
    app.push("1")
    done = app.cli("deploy", "app", "--detach")
    assert (done.code, done.stdout) == (0, "1\n")
    assert app.cli.wait_for(1)["status"] == "succeeded"
    assert app.live == "1"
    queued = app.deploy("--detach")
    assert (queued["number"], queued["status"], queued["started_at"]) == (2, "queued", None)
    assert app.cli.wait_for(2)["status"] == "succeeded"


def test_after_a_force_push_the_new_tip_is_deployed(app: App) -> None:
    app.release("1")
    old = app.upstream.head
    app.release("2")
    app.upstream.rewind(old)
    assert app.deploy()["revision"] == old
    assert app.live == "1"


def test_old_releases_are_removed_but_for_the_live_one_and_the_one_before(app: App) -> None:
    app.configure(keep_releases=1)
    for version in "123":
        app.release(version)
    kept = sorted(path.name.split("-")[0] for path in (app.path / "releases").iterdir())
    assert kept == ["2", "3"]


def test_shared_files_and_directories_outlive_a_release(app: App) -> None:
    app.configure(shared_dirs=["uploads"], shared_files=[".env"])
    app.push("1")
    failure: dict[str, Any] = app.deploy(code=1)["failure"]
    assert failure["stage"] == "prepare"
    assert failure["message"].startswith(
        f"the shared file {app.path}/shared/.env does not exist: create it"
    )
    (app.path / "shared" / ".env").write_text("A=1\n")
    app.deploy()
    (app.path / "current" / "uploads" / "cat.jpg").write_text("meow")
    app.release("2")
    assert (app.path / "current" / "uploads" / "cat.jpg").read_text() == "meow"
    assert (app.path / "current" / ".env").read_text() == "A=1\n"


def test_in_place_moves_one_checkout(app: App) -> None:
    app.configure(strategy="in_place")
    revision = app.push("1")
    document = app.deploy()
    assert (document["release"], document["revision"]) == (None, revision)
    assert git(app.path, "rev-parse", "HEAD") == revision
    app.release("2")
    assert app.live == "2"
    app.push("bad")
    assert app.deploy(code=3)["status"] == "rolled_back"
    assert app.live == "2"
    app.push("")
    assert app.deploy(code=1)["status"] == "failed"
    assert app.live == "2"


def test_a_first_deployment_in_place_that_fails_its_check_stays(app: App) -> None:
    app.configure(strategy="in_place")
    app.push("bad")
    assert app.deploy(code=1)["status"] == "failed"
    assert (app.live, app.status["live"]["well"]) == ("bad", False)
    assert app.release("2")["status"] == "succeeded"
    assert app.live == "2"


def test_an_edited_clone_is_taken_over_and_its_changes_are_saved(app: App) -> None:
    app.configure(strategy="in_place")
    old = app.push("1")
    git(app.directory, "clone", "-q", app.upstream.url, str(app.path))
    (app.path / "version").write_text("edited\n")
    (app.path / "notes").write_text("mine\n")
    (app.path / "added").write_text("also mine\n")
    app.upstream.commit({"version": "2\n", "added": "theirs\n"})
    done = app.cli("deploy", "app")
    assert done.code == 0
    saved = "refs/deployctl/saved/1"
    assert (
        f"{app.path} had changes that are in no commit: saved as {saved} "
        f"(git -C {app.path} show --stat {saved})\n"
    ) in done.stdout
    assert git(app.path, "show", f"{saved}:version") == "edited"
    assert git(app.path, "show", f"{saved}:added") == "also mine"
    assert (app.path / "notes").read_text() == "mine\n"
    assert (app.live, (app.path / "added").read_text()) == ("2", "theirs\n")
    assert app.cli.json("rollback", "app")["revision"] == old
    assert app.live == "1"


def test_a_deployment_goes_on_when_its_output_is_no_longer_read(app: App) -> None:
    app.configure(stages=[{"name": "talk", "run": "seq 20000; sleep 0.1; seq 20000"}])
    app.push("1")
    process = app.cli.start("deploy", "app")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert app.live == "1"


def test_a_deployment_works_with_closed_streams(app: App) -> None:
    app.push("1")
    script = 'exec "$@" <&- >&- 2>&-'
    argv = ["/bin/sh", "-c", script, "sh", *app.cli.argv("deploy", "app")]
    assert os.spawnvpe(os.P_WAIT, "/bin/sh", argv, app.cli.env) == 0
    assert app.live == "1"


def test_the_plan_shows_no_secret(app: App) -> None:
    app.configure(secrets={"PASSWORD": "opensesame"}, restart=["login", "opensesame"])
    app.push("1", "Use the password opensesame")
    done, shown = app.cli("deploy", "app", "-n"), app.cli("deploy", "app", "-n", "--json")
    assert "restart: login [hidden] [repos.yml]" in done.stdout.splitlines()
    assert done.stdout.splitlines()[0].endswith(" Use the password [hidden]")
    assert shown.json["plan"] == done.stdout.splitlines()
    assert "opensesame" not in done.stdout + shown.stdout
