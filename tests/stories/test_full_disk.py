"""A full disk: the deployment fails cleanly, what was live stays, and the queue goes on after."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import App
from tests.support.deliveries import SECRET, push
from tests.support.front import deliver
from tests.support.small_disk import fill, free, small_disk

STRATEGIES = ("releases", "in_place")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 40) as place:
        yield place


def configure(app: App, disk: Path, **keys: Any) -> None:
    """State and path on the small disk."""
    app.state, app.path = disk / "state", disk / "app"
    usual = {"path": str(app.path), "min_free": 0, "id": 1296269, "webhook_secret": SECRET}
    app.configure(top={"state_dir": str(app.state)}, **{**usual, **keys})


def releases(app: App) -> list[str]:
    return sorted(path.name for path in (app.path / "releases").glob("*"))


def fails(app: App) -> dict[str, Any]:
    """Deploy -> the deployment as the record has it, which ended, and live is what was live."""
    before = app.live
    done = app.cli("deploy", "app")
    assert done.code == 1, done
    ended: dict[str, Any] = app.cli.json("history", "-n", "1")["deployments"][0]
    assert ended["status"] == "failed", ended
    assert app.live == before
    return ended


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_step_that_fills_the_disk_fails_its_stage_and_is_cleaned_up_behind(
    app: App, disk: Path, strategy: str
) -> None:
    configure(app, disk, strategy=strategy)
    app.release("1")
    assert (app.state / "reserve").stat().st_size == 1024 * 1024
    room = free(disk)
    greedy = "dd if=/dev/zero of=big bs=4k"
    configure(app, disk, strategy=strategy, stages=[{"name": "greedy", "run": greedy}])
    app.push("2")
    ended = fails(app)
    assert (ended["failure"]["stage"], ended["failure"]["exit_code"]) == ("greedy", 1)
    assert "No space left on device" in ended["failure"]["tail"]
    if strategy == "in_place":  # what steps leave beside the tracked files is theirs
        (app.path / "big").unlink()
    else:
        assert releases(app) == [f"1-{app.cli.json('show', '1')['revision'][:12]}"]
    assert free(disk) > room - 3 * 1024 * 1024
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
    ended = fails(app)
    assert ended["failure"]["stage"] == "prepare"
    assert ended["failure"]["message"].endswith("; free some disk space"), ended["failure"]
    assert not (app.path / "big").exists()
    if strategy == "releases":
        assert len(releases(app)) == 1
    app.upstream.commit({f"big/{number}": None for number in range(15)}, "less")
    assert app.deploy()["status"] == "succeeded"
    assert app.live == "2"


def test_a_fetch_that_does_not_fit_leaves_room_for_what_comes_after(app: App, disk: Path) -> None:
    configure(app, disk)
    app.release("1")
    room = free(disk)
    (app.upstream.work / "noise").write_bytes(os.urandom(42 * 1024 * 1024))
    app.push("2")
    ended = fails(app)
    assert ended["failure"]["stage"] == "fetch"
    assert free(disk) > room - 3 * 1024 * 1024
    app.upstream.rewind("HEAD~1")
    assert app.release("3")["status"] == "succeeded"


def test_while_the_disk_is_full_deliveries_are_refused_and_taken_again_when_it_is_not(
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
    assert (app.state / "reserve").exists(), "a delivery is not worth it: it comes again"
    full.unlink()
    answered = deliver(app.cli, body)
    assert (answered.status, answered.document["result"]) == (202, "queued")
    assert app.cli.wait_for(answered.document["deployment"])["status"] == "succeeded"
    assert app.live == "2"


def test_an_outcome_is_written_down_even_where_every_block_is_taken(app: App, disk: Path) -> None:
    configure(app, disk)
    app.release("1")
    taken = disk / "taken"
    greedy = f"! dd if=/dev/zero of={taken} bs=4k; exit 1"
    configure(app, disk, stages=[{"name": "greedy", "run": greedy}])
    app.push("2")
    ended = fails(app)
    assert ended["failure"]["stage"] == "greedy"
    assert not (app.state / "reserve").exists()
    assert len(releases(app)) == 1
    assert app.cli("run").code == 0
    assert not (app.state / "reserve").exists(), "there is no room for it yet"
    taken.unlink()
    assert app.cli("run").code == 0
    assert (app.state / "reserve").exists()
