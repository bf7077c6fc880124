"""Room on the disk is checked before a release is built; old releases and logs are removed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.releases.layout.files import disk_usage
from deployctl.store.logs import prune_logs
from deployctl.values.text import in_bytes
from tests.support.app import App
from tests.support.small_disk import free_bytes, small_disk
from tests.support.workers import wait_until

MB = 1024 * 1024
BIG = {"name": "big", "run": "head -c 10000000 /dev/zero >big"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system for the releases; the state directory is not on it."""
    with small_disk(tmp_path / "disk", 64) as mounted:
        yield mounted


def configure_on(app: App, disk: Path, **keys: Any) -> None:
    app.path = disk / "app"
    app.configure(path=str(app.path), **keys)


def release_numbers(app: App) -> set[int]:
    """Return the numbers of the releases on disk."""
    return {int(path.name.partition("-")[0]) for path in (app.path / "releases").iterdir()}


def test_less_than_min_free_fails_before_a_release_is_built(app: App, disk: Path) -> None:
    configure_on(app, disk, min_free="1M")
    app.release("1")
    configure_on(app, disk, min_free="64M")
    app.push("2")
    document = app.deploy(code=1)
    assert document["failure"]["stage"] == "prepare"
    assert document["failure"]["message"] == (
        f"only 63 MB free for {app.path}, and app wants 64 MB (min_free): "
        f"free some (df -h {app.path}), or lower min_free of app in repos.yml"
    )
    assert (app.live, release_numbers(app)) == ("1", {1})
    assert app.cli.json("check", code=1)["ok"] is False
    configure_on(app, disk, min_free=0)
    assert app.deploy()["status"] == "succeeded"


def test_a_release_needs_twice_the_room_of_the_last_one(app: App, disk: Path) -> None:
    configure_on(app, disk, min_free="1M", stages=[BIG], keep_releases=1)
    app.release("1")
    (disk / "other").write_bytes(b"x" * (free_bytes(disk) - 15 * MB))
    app.push("2")
    size = in_bytes(disk_usage(str(next((app.path / "releases").iterdir()))))
    document = app.deploy(code=1)
    assert document["failure"]["message"] == (
        f"only 15 MB free for {app.path}, and app wants 19 MB (twice its last release, {size}): "
        f"free some (df -h {app.path}), or set min_free of app to 0 in repos.yml"
    )
    (disk / "other").unlink()
    assert app.deploy()["status"] == "succeeded"


def test_old_releases_are_removed_to_make_room(app: App, disk: Path) -> None:
    configure_on(app, disk, min_free="1M", stages=[BIG], keep_releases=5)
    for version in ("1", "2", "3"):
        app.release(version)
    (disk / "other").write_bytes(b"x" * (free_bytes(disk) - 12 * MB))
    configure_on(app, disk, min_free="1M", stages=[BIG], keep_releases=1)
    app.push("4")
    assert app.deploy()["status"] == "succeeded"
    assert (
        "there is little room: removing what is not needed any more" in app.cli("logs", "4").stdout
    )
    assert release_numbers(app) == {3, 4}


def test_in_place_only_min_free_is_needed(app: App, disk: Path) -> None:
    configure_on(app, disk, min_free="30M", strategy="in_place", stages=[BIG])
    app.release("1")
    configure_on(app, disk, min_free="64M", strategy="in_place")
    app.push("2")
    assert "wants 64 MB (min_free)" in app.deploy(code=1)["failure"]["message"]
    assert app.live == "1"


def test_disk_usage_counts_hard_links_once_and_follows_no_symlink(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "huge").write_bytes(b"x" * MB)
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_bytes(b"x" * 8192)
    os.link(tree / "a", tree / "sub" / "b")
    (tree / "link").symlink_to(tmp_path / "outside")
    assert 8192 <= disk_usage(str(tree)) < 5 * 8192


# ---- pruning of releases and logs, whether or not deployments succeed -----------------------


def test_run_removes_surplus_releases_after_keep_releases_was_lowered(app: App) -> None:
    for version in ("1", "2", "3", "4"):
        app.release(version)
    app.configure(keep_releases=1)
    done = app.cli("run")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert release_numbers(app) == {3, 4}
    before = app.snapshot()
    app.cli("run")
    assert app.snapshot() == before


@pytest.mark.parametrize("version", ["", "bad"])
def test_a_failed_deployment_prunes_too(app: App, version: str) -> None:
    for good in ("1", "2", "3", "4"):
        app.release(good)
    app.configure(keep_releases=2)
    app.push(version)
    app.cli("deploy", "app")
    assert release_numbers(app) == {3, 4}


def test_old_logs_are_removed_but_the_newest_of_each_repo(app: App) -> None:
    app.write({"app": {"min_free": 0}, "blog": {"min_free": 0}}, keep_logs="30d")
    for name in ("blog", "app", "app", "app"):
        assert app.cli("deploy", name).code == 0
    logs = app.state / "logs"
    old = time.time() - 31 * 86400
    for log in logs.iterdir():
        os.utime(log, (old, old))
    (logs / "webhook.log").touch()
    assert app.cli("run").code == 0
    assert sorted(log.name for log in logs.iterdir()) == ["1.log", "4.log", "webhook.log"]


def test_a_log_with_a_time_in_the_future_does_not_keep_others(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for number, modified in ((1, 10), (2, 10), (10, 30), (11, 10)):
        log = tmp_path / "logs" / f"{number}.log"
        log.touch()
        os.utime(log, (modified, modified))
    prune_logs(str(tmp_path), 20, lambda number: number == 2)
    assert {log.name for log in (tmp_path / "logs").iterdir()} == {"2.log", "10.log"}


def test_logs_says_that_a_log_was_removed(app: App) -> None:
    app.release("1")
    (app.state / "logs" / "1.log").unlink()
    done = app.cli("logs", "1")
    assert (done.code, done.stdout) == (0, "")
    assert done.error == "the log of #1 is gone; see: deployctl show 1"
    app.configure(top={"keep_logs": "0.1s"})
    expired = "the log of #1 is gone: logs are kept for 0.1s (keep_logs); see: deployctl show 1"
    wait_until(lambda: app.cli("logs", "1").error == expired)
    app.push("")
    app.deploy(code=1)
    (app.state / "logs" / "2.log").unlink()
    assert app.cli("logs", "2", "--failed").error.startswith("the log of #2 is gone")
