"""Tests of the worker: errors of one repo do not stop the others, and no queued one is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deployctl.config.load import load
from deployctl.deploy import worker
from deployctl.deploy.admission import Runtime
from deployctl.output.screen import Output
from deployctl.releases.site import Site
from deployctl.store import deployments, queue
from deployctl.store.database import Database
from deployctl.store.locks_and_holds import Lock, set_lock
from deployctl.system.process_tree import end_marked
from tests.conftest import WriteConfig
from tests.support.cli import Cli, finish
from tests.support.upstream import Upstream, git
from tests.support.workers import wait_until

Repos = Callable[..., Cli]


@pytest.fixture
def cli(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Repos:
    def configure(repos: dict[str, dict[str, object]], **top: object) -> Cli:
        filled = {name: {"url": upstream.url, **repo} for name, repo in repos.items()}
        return Cli(tmp_path, write_config(filled, **top))

    return configure


def _queue(cli: Cli, *names: str) -> None:
    with Database(load(str(cli.config)).state_dir) as db, db.writing() as connection:
        for name in names:
            queue.enqueue(connection, repo=name, trigger="webhook", actor="ada", now=1.0)


def test_a_checkout_that_git_cannot_read_fails_without_stopping_the_other_repo(
    tmp_path: Path, upstream: Upstream, cli: Repos
) -> None:
    here = cli({"broken": {"strategy": "in_place"}, "sound": {}})
    git(tmp_path, "clone", "-q", upstream.url, "broken")
    with (tmp_path / "broken" / ".git" / "config").open("a") as config:
        config.write("not a line of git's\n")
    _queue(here, "broken", "sound")

    ended = {found["repo"]: found for found in here.json("run")["deployments"]}
    assert ended["sound"]["status"] == "succeeded"
    assert ended["broken"]["status"] == "failed"
    assert ended["broken"]["failure"]["stage"] == "prepare"
    assert "cannot read the checkout" in ended["broken"]["failure"]["message"]
    assert (tmp_path / "broken" / "README").read_text() == "hello\n"

    repos = {found["repo"]: found for found in here.json("status")["repos"]}
    assert "cannot read the checkout" in repos["broken"]["problem"]
    assert repos["sound"]["problem"] is None
    assert repos["sound"]["live"]["revision"] == upstream.head


def test_a_queued_deployment_of_a_repo_that_is_no_longer_configured_is_cancelled(
    cli: Repos,
) -> None:
    here = cli({"app": {}})
    _queue(here, "gone", "app")
    assert [found["repo"] for found in here.json("run")["deployments"]] == ["app"]
    gone = here.json("show", "1")
    assert (gone["status"], gone["reason"]) == ("cancelled", f"gone is no longer in {here.config}")


def test_a_deployment_is_not_claimed_after_a_person_locked_the_repo(tmp_path: Path) -> None:
    with Database(str(tmp_path / "state")) as db:
        with db.writing() as connection:
            number = queue.enqueue(connection, repo="app", trigger="cli", actor="ada", now=1.0)
        assert set_lock(db, "app", Lock("ada", 1.0, "holidays"))
        assert not set_lock(db, "app", Lock("eve", 2.0, "mine"))
        assert not deployments.claim(db, number, "{}", 3.0)


def test_a_variable_that_a_secret_names_reaches_the_worker(
    cli: Repos, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [{"name": "show", "run": 'test "$TOKEN" = from-the-shell && test -z "${OTHER:-}"'}]
    here = cli({"app": {"stages": stages, "secrets": {"TOKEN": "env:MY_TOKEN"}}})
    command = [sys.executable, "-m", "deployctl", "-c", str(here.config)]
    monkeypatch.setenv("MY_TOKEN", "from-the-shell")
    monkeypatch.setenv("OTHER", "must not get through")
    subprocess.run([*command, "deploy", "app", "--detach"], check=True, stdout=subprocess.PIPE)
    monkeypatch.delenv("MY_TOKEN")
    wait_until(lambda: here.json("show", "1")["finished_at"] is not None)
    assert here.json("show", "1")["status"] == "succeeded"


def test_sync_deploys_again_after_sigterm_but_not_after_ctrl_c(tmp_path: Path, cli: Repos) -> None:
    wait = tmp_path / "wait"
    run = f"touch {tmp_path}/begun; while [ -e {wait} ]; do sleep 0.02; done"
    stages = [{"name": "wait", "run": run}]
    here = cli({"app": {"stages": stages}})
    for signum, wanted in ((signal.SIGINT, []), (signal.SIGTERM, ["succeeded"])):
        wait.touch()
        (tmp_path / "begun").unlink(missing_ok=True)
        runner = subprocess.Popen(
            [sys.executable, "-m", "deployctl", "-c", str(here.config), "deploy", "app"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until((tmp_path / "begun").exists)
        runner.send_signal(signum)
        assert runner.wait(timeout=30) == 130
        wait.unlink()
        ran = here.json("sync")["deployments"]
        assert [found["status"] for found in ran] == wanted


def test_a_deployment_whose_process_died_and_whose_repo_is_not_configured_fails(
    tmp_path: Path, cli: Repos, write_config: WriteConfig
) -> None:
    wait = tmp_path / "wait"
    stages = [{"name": "wait", "run": f"touch {wait}; exec sleep 60"}]
    here = cli({"app": {"stages": stages}})
    command = [sys.executable, "-m", "deployctl", "-c", str(here.config), "deploy", "app"]
    runner = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(wait.exists)
    runner.kill()
    runner.wait()
    with Database(load(str(here.config)).state_dir) as db:
        marker = f"{db.identity}-1-1"
    write_config({"other": {}})
    here("run")
    gone = here.json("show", "1")
    assert gone["status"] == "failed"
    assert gone["reason"] == f"its process died, and app is no longer in {here.config}"
    assert (gone["failure"]["stage"], gone["failure"]["message"]) == ("worker", gone["reason"])
    end_marked(marker)


def test_a_shallow_clone_can_be_deployed_from(
    tmp_path: Path, upstream: Upstream, cli: Repos
) -> None:
    upstream.commit({"version": "2"})
    git(tmp_path, "clone", "-q", "--depth", "1", upstream.url, "shallow")
    here = cli({"app": {"url": str(tmp_path / "shallow")}})
    assert here.json("deploy", "app")["status"] == "succeeded"
    assert here.json("deploy", "app")["revision"] == upstream.head


def test_a_rollback_to_another_release_of_the_same_revision_holds_nothing(cli: Repos) -> None:
    here = cli({"app": {}})
    here.json("deploy", "app")
    here.json("deploy", "app")
    assert here.json("rollback", "app")["status"] == "succeeded"
    assert here.json("status")["repos"][0]["hold"] is None
    assert here.json("deploy", "app")["status"] == "succeeded"


def test_a_deployment_queued_while_an_earlier_one_could_not_run_is_run(
    cli: Repos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delivery started no worker, because the repo's lock file was held."""
    here = cli({"app": {}})
    _queue(here, "app")
    config = load(str(here.config))
    tried: list[int] = []

    def queue_another_and_run_none(_runtime: Runtime, _site: Site, number: int) -> None:
        tried.append(number)
        if len(tried) == 1:
            _queue(here, "app")

    monkeypatch.setattr(worker, "run_queued", queue_another_and_run_none)
    with Database(config.state_dir) as db:
        assert worker.run(Runtime(config, db, Output())) == []
    assert tried[:2] == [1, 2]


def test_an_automatic_deployment_runs_again_after_its_worker_got_sigterm(
    tmp_path: Path, upstream: Upstream, cli: Repos
) -> None:
    wait, begun, posted = tmp_path / "wait", tmp_path / "begun", tmp_path / "posted"
    run = f"touch {begun}; while [ -e {wait} ]; do sleep 0.02; done"
    post = {"always": f"echo . >> {posted}"}
    here = cli({"app": {"stages": [{"name": "wait", "run": run}], "post": post}})
    first = here.json("deploy", "app")["release"]
    upstream.commit({"version": "2"})
    wait.touch()
    _queue(here, "app")
    for attempt in (1, 2, 3):
        begun.unlink()
        runner = here.start("run")
        wait_until(begun.exists)
        runner.send_signal(signal.SIGTERM)
        assert finish(runner).code == 130
        ended, last = here.json("show", "2"), attempt == 3
        again = f"; it runs again (attempt {attempt + 1} of 3)"
        assert ended["status"] == ("cancelled" if last else "queued")
        assert ended["reason"] == "interrupted (SIGTERM)" + ("" if last else again)
        assert [path.name for path in (tmp_path / "app" / "releases").iterdir()] == [first]
    # `post` of the first deployment, and of the last attempt of the second one.
    assert posted.read_text() == ".\n.\n"
    wait.unlink()
    assert [found["status"] for found in here.json("sync")["deployments"]] == ["succeeded"]


def test_a_cancelled_deployment_does_not_run_again(tmp_path: Path, cli: Repos) -> None:
    begun = tmp_path / "begun"
    here = cli({"app": {"stages": [{"name": "wait", "run": f"touch {begun}; exec sleep 60"}]}})
    _queue(here, "app")
    runner = here.start("run")
    wait_until(begun.exists)
    assert here("cancel", "1").code == 0
    assert finish(runner).code == 0
    assert here.json("show", "1")["status"] == "cancelled"
