"""A repo that follows tags: a pushed tag goes live, a pushed branch does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployctl.config.compiled import load_webhook_config
from deployctl.webhook.receive import receive
from tests.conftest import WriteConfig
from tests.support.cli import Cli
from tests.support.deliveries import SECRET, push, request
from tests.support.upstream import Upstream

Deployctl = Callable[..., tuple[int, Any]]


@pytest.fixture
def config(upstream: Upstream, write_config: WriteConfig) -> Path:
    return write_config({"app": {"tags": "v*", "webhook_secret": SECRET, "url": upstream.url}})


@pytest.fixture
def deployctl(tmp_path: Path, config: Path) -> Deployctl:
    cli = Cli(tmp_path, config)

    def run(*words: str) -> tuple[int, Any]:
        done = cli(*words, "--json")
        return done.code, done.json

    return run


def deliver(config: Path, ref: str, after: str) -> str:
    """Deliver a push of this ref; return the result in the answer."""
    delivery = request(push(ref=ref, after=after), path="/app", number=ref)
    return receive(delivery, load_webhook_config(str(config)), now=1.0, wake=lambda _: None).result


def test_the_commit_of_an_annotated_tag_goes_live(
    upstream: Upstream, config: Path, deployctl: Deployctl
) -> None:
    tagged = upstream.head
    upstream.tag("v1.0")
    upstream.commit({"README": "more\n"}, "second")
    assert deliver(config, "refs/heads/main", upstream.head) == "ignored"
    assert deliver(config, "refs/tags/v1.0", "b" * 40) == "queued"
    code, document = deployctl("run")
    (deployment,) = document["deployments"]
    assert (code, deployment["status"], deployment["ref"]) == (0, "succeeded", "refs/tags/v1.0")
    assert deployment["revision"] == tagged


def test_of_the_tags_that_fit_the_pattern_the_highest_version_is_deployed(
    upstream: Upstream, deployctl: Deployctl
) -> None:
    for name in ("v1.10", "v1.9", "v1.11-rc1", "v1.11", "w2"):
        upstream.commit({"README": name}, name)
        upstream.tag(name)
    upstream.commit({"README": "more"}, "after all tags")
    code, document = deployctl("deploy", "app")
    assert (code, document["ref"], document["subject"]) == (0, "refs/tags/v1.11", "v1.11")
    assert deployctl("deploy", "app", "--if-changed")[1]["number"] == 1
    assert deployctl("deploy", "app", "-n")[1]["plan"][0].startswith("fetch refs/tags/v1.11 ")


def test_sync_deploys_the_newest_tag_too(upstream: Upstream, deployctl: Deployctl) -> None:
    tagged = upstream.head
    upstream.tag("v1.0")
    upstream.commit({"README": "more"}, "second")
    code, document = deployctl("sync")
    (deployment,) = document["deployments"]
    assert (code, deployment["ref"], deployment["revision"]) == (0, "refs/tags/v1.0", tagged)
    assert deployctl("sync") == (0, {"deployments": []})
    upstream.tag("v1.1")
    assert deployctl("sync")[1]["deployments"][0]["revision"] == upstream.head


def test_a_tag_that_was_rolled_back_is_held_until_resume(
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


def test_nothing_is_deployed_if_no_tag_fits_the_pattern(
    upstream: Upstream, deployctl: Deployctl
) -> None:
    upstream.tag("w1")
    code, document = deployctl("deploy", "app")
    assert (code, document["error"]["message"]) == (
        2,
        f"{upstream.url} has no tag that fits v*: push one, or set tags",
    )
    assert deployctl("sync") == (0, {"deployments": []})


def test_status_shows_the_tags_that_are_followed(deployctl: Deployctl) -> None:
    (repo,) = deployctl("status")[1]["repos"]
    assert (repo["branch"], repo["tags"]) == (None, "v*")


def test_the_option_ref_chooses_a_tag(upstream: Upstream, deployctl: Deployctl) -> None:
    upstream.tag("v1.0")
    upstream.tag("v2.0")
    code, document = deployctl("deploy", "app", "--ref", "v1.0")
    assert (code, document["ref"], document["revision"]) == (0, "refs/tags/v1.0", upstream.head)
