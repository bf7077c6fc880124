"""A repo that follows tags: a pushed tag goes live, and nothing else does by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployctl.config.compiled import load_webhook_config
from deployctl.webhook.receive import receive
from tests.conftest import WriteConfig
from tests.support.deliveries import SECRET, push, request
from tests.support.upstream import Upstream

Deployctl = Callable[..., tuple[int, Any]]


@pytest.fixture
def config(upstream: Upstream, write_config: WriteConfig) -> Path:
    return write_config({"app": {"tags": "v*", "webhook_secret": SECRET, "url": upstream.url}})


@pytest.fixture
def deployctl(config: Path) -> Deployctl:
    def run(*words: str) -> tuple[int, Any]:
        command = [sys.executable, "-m", "deployctl", "-c", str(config), *words, "--json"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout)

    return run


def deliver(config: Path, ref: str, after: str) -> str:
    made = request(push(ref=ref, after=after), path="/app", number=ref)
    return receive(made, load_webhook_config(str(config)), now=1.0, wake=lambda _: None).result


def test_the_commit_of_an_annotated_tag_goes_live(
    upstream: Upstream, config: Path, deployctl: Deployctl
) -> None:
    tagged = upstream.head
    upstream.tag("v1.0")
    upstream.commit({"README": "more\n"}, "second")
    assert deliver(config, "refs/heads/main", upstream.head) == "ignored"
    assert deliver(config, "refs/tags/v1.0", "b" * 40) == "queued"
    code, found = deployctl("run")
    (deployment,) = found["deployments"]
    assert (code, deployment["status"], deployment["ref"]) == (0, "succeeded", "refs/tags/v1.0")
    assert deployment["revision"] == tagged


def test_the_newest_tag_that_fits_is_deployed_by_its_version(
    upstream: Upstream, deployctl: Deployctl
) -> None:
    for name in ("v1.10", "v1.9", "v1.11-rc1", "v1.11", "w2"):
        upstream.commit({"README": name}, name)
        upstream.tag(name)
    upstream.commit({"README": "more"}, "after all tags")
    code, found = deployctl("deploy", "app")
    assert (code, found["ref"], found["subject"]) == (0, "refs/tags/v1.11", "v1.11")
    assert deployctl("deploy", "app", "--if-changed")[1]["number"] == 1
    assert deployctl("deploy", "app", "-n")[1]["plan"][0].startswith("fetch refs/tags/v1.11 ")


def test_sync_deploys_the_newest_tag_too(upstream: Upstream, deployctl: Deployctl) -> None:
    tagged = upstream.head
    upstream.tag("v1.0")
    upstream.commit({"README": "more"}, "second")
    code, found = deployctl("sync")
    (deployment,) = found["deployments"]
    assert (code, deployment["ref"], deployment["revision"]) == (0, "refs/tags/v1.0", tagged)
    assert deployctl("sync") == (0, {"deployments": []})
    upstream.tag("v1.1")
    assert deployctl("sync")[1]["deployments"][0]["revision"] == upstream.head


def test_a_tag_that_was_rolled_back_from_is_held_until_somebody_resumes(
    upstream: Upstream, deployctl: Deployctl
) -> None:
    for name in ("v1.0", "v1.1"):
        upstream.commit({"README": name}, name)
        upstream.tag(name)
        deployctl("deploy", "app")
    deployctl("rollback", "app")
    assert deployctl("sync") == (0, {"deployments": []})
    assert deployctl("deploy", "app")[0] == 5
    assert deployctl("deploy", "app", "--ref", "v1.0")[0] == 0
    assert deployctl("status")[1]["repos"][0]["hold"]["revision"] == upstream.head
    deployctl("resume", "app")
    assert deployctl("sync")[1]["deployments"][0]["ref"] == "refs/tags/v1.1"


def test_without_a_tag_that_fits_there_is_nothing_to_deploy(
    upstream: Upstream, deployctl: Deployctl
) -> None:
    upstream.tag("w1")
    code, found = deployctl("deploy", "app")
    assert (code, found["error"]["message"]) == (
        2,
        f"{upstream.url} has no tag that fits v*: push one, or set tags",
    )
    assert deployctl("sync") == (0, {"deployments": []})


def test_what_is_followed_is_shown(deployctl: Deployctl) -> None:
    (repo,) = deployctl("status")[1]["repos"]
    assert (repo["branch"], repo["tags"]) == (None, "v*")


def test_a_person_may_say_which_tag(upstream: Upstream, deployctl: Deployctl) -> None:
    upstream.tag("v1.0")
    upstream.tag("v2.0")
    code, found = deployctl("deploy", "app", "--ref", "v1.0")
    assert (code, found["ref"], found["revision"]) == (0, "refs/tags/v1.0", upstream.head)
