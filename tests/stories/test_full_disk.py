"""A full disk: the deployment fails cleanly, the live release stays, and the queue still works."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import App
from tests.support.deliveries import SECRET, push
from tests.support.deploy_cgi import deliver
from tests.support.small_disk import fill, free_bytes, small_disk

STRATEGIES = ("releases", "in_place")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 40) as directory:
        yield directory


def configure(app: App, disk: Path, **keys: Any) -> None:
    """Write repos.yml with the state and the repo's path on the small disk."""
    app.state, app.path = disk / "state", disk / "app"
    usual = {"path": str(app.path), "min_free": 0, "id": 1296269, "webhook_secret": SECRET}
    app.configure(top={"state_dir": str(app.state)}, **{**usual, **keys})


def releases(app: App) -> list[str]:
    return sorted(path.name for path in (app.path / "releases").glob("*"))


def deploy_failing(app: App) -> dict[str, Any]:
    """Deploy, assert that it failed and that the live version stayed; return the deployment."""
    before = app.live
    done = app.cli("deploy", "app")
    assert done.code == 1, done
    ended: dict[str, Any] = app.cli.json("history", "-n", "1")["deployments"][0]
    assert ended["status"] == "failed", ended
    assert app.live == before
    return ended


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_step_that_fills_the_disk_fails_its_stage_and_its_files_are_removed(
    app: App, disk: Path, strategy: str
) -> None:
    configure(app, disk, strategy=strategy)
    app.release("1")
    assert (app.state / "reserve").stat().st_size == 1024 * 1024
    room = free_bytes(disk)
    greedy = "dd if=/dev/zero of=big bs=4k"
    configure(app, disk, strategy=strategy, stages=[{"name": "greedy", "run": greedy}])
    app.push("2")
    ended = deploy_failing(app)
    assert (ended["failure"]["stage"], ended["failure"]["exit_code"]) == ("greedy", 1)
    assert "No space left on device" in ended["failure"]["tail"]
    if strategy == "in_place":  # untracked files of steps are never removed
        (app.path / "big").unlink()
    else:
        assert releases(app) == [f"1-{app.cli.json('show', '1')['revision'][:12]}"]
    assert free_bytes(disk) > room - 3 * 1024 * 1024
    configure(app, disk, strategy=strategy)
    assert app.deploy()["status"] == "succeeded"
    assert app.live == "2"
    assert app.cli("run").code == 0
    assert (app.state / "reserve").exists()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_checkout_that_does_not_fit_leaves_nothing_behind(
    app: App, disk: Path, strategy: str
) -> None:
    configure(app, disk, strategy=strategy)
    app.release("1")
    compressible = {f"big/{number}": "x" * 4_000_000 for number in range(15)}
    app.upstream.commit({"version": "2\n", **compressible}, "too much")
    ended = deploy_failing(app)
    assert ended["failure"]["stage"] == "prepare"
    assert ended["failure"]["message"].endswith("; free some disk space"), ended["failure"]
    assert not (app.path / "big").exists()
    if strategy == "releases":
        assert len(releases(app)) == 1
    app.upstream.commit({f"big/{number}": None for number in range(15)}, "less")
    assert app.deploy()["status"] == "succeeded"
    assert app.live == "2"


def test_a_fetch_that_does_not_fit_leaves_room_for_the_next_deployment(
    app: App, disk: Path
) -> None:
    configure(app, disk)
    app.release("1")
    room = free_bytes(disk)
    (app.upstream.work / "noise").write_bytes(os.urandom(42 * 1024 * 1024))
    app.push("2")
    ended = deploy_failing(app)
    assert ended["failure"]["stage"] == "fetch"
    assert free_bytes(disk) > room - 3 * 1024 * 1024
    app.upstream.rewind("HEAD~1")
    assert app.release("3")["status"] == "succeeded"


def test_deliveries_are_answered_503_while_the_disk_is_full_and_accepted_afterwards(
    app: App, disk: Path
) -> None:
    configure(app, disk)
    first = app.release("1")
    revision = app.push("2")
    body = json.dumps(push(after=revision)).encode()
    full = fill(disk)
    assert deliver(app.cli, body).status == 503
    assert app.cli("status").code == 0
    assert app.cli("run").code in (0, 1)
    assert app.status["live"]["revision"] == first["revision"]
    assert (app.state / "reserve").exists(), "a delivery must not use it up: a forge redelivers"
    full.unlink()
    response = deliver(app.cli, body)
    assert (response.status, response.document["result"]) == (202, "queued")
    assert app.cli.wait_for(response.document["deployment"])["status"] == "succeeded"
    assert app.live == "2"


def test_the_outcome_of_a_deployment_is_stored_even_if_no_block_is_free(
    app: App, disk: Path
) -> None:
    configure(app, disk)
    app.release("1")
    taken = disk / "taken"
    greedy = f"! dd if=/dev/zero of={taken} bs=4k; exit 1"
    configure(app, disk, stages=[{"name": "greedy", "run": greedy}])
    app.push("2")
    ended = deploy_failing(app)
    assert ended["failure"]["stage"] == "greedy"
    assert not (app.state / "reserve").exists()
    assert len(releases(app)) == 1
    assert app.cli("run").code == 0
    assert not (app.state / "reserve").exists(), "there is no room for it yet"
    taken.unlink()
    assert app.cli("run").code == 0
    assert (app.state / "reserve").exists()
