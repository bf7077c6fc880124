"""A repo that follows tags: a pushed tag goes live, and nothing else does by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployctl.config.webhook import load_webhook_config
from deployctl.receive import receive
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


def test_sync_leaves_it_alone(config: Path, deployctl: Deployctl) -> None:
    assert deployctl("sync") == (0, {"deployments": []})


def test_a_person_says_which_tag(upstream: Upstream, deployctl: Deployctl) -> None:
    code, found = deployctl("deploy", "app")
    assert code == 2
    assert found["error"]["message"] == "app follows tags: say which one, --ref refs/tags/NAME"
    upstream.tag("v1.0")
    code, found = deployctl("deploy", "app", "--ref", "v1.0")
    assert (code, found["ref"], found["revision"]) == (0, "refs/tags/v1.0", upstream.head)
