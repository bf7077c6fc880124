"""Fifty processes at once: all are answered, none is lost, and no two deploy at the same time."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import USUAL, App
from tests.support.cli import finish
from tests.support.deliveries import SECRET, headers, push
from tests.support.paths import ROOT
from tests.support.workers import wait_until

CROWD = 50
# The stage appends ``start NUMBER`` and ``stop NUMBER`` to a file. Where two stages overlap, the
# line of another deployment stands between these two.
STAGES = [
    {
        "name": "build",
        "run": "cd ../../..; echo start $DEPLOYCTL_DEPLOYMENT >> steps; sleep 0.02; "
        "echo stop $DEPLOYCTL_DEPLOYMENT >> steps",
    }
]


@pytest.fixture
def crowd(app: App) -> App:
    """Two repos with different ids; by default one deployment runs at a time on the machine."""
    repo = {**USUAL, "url": app.upstream.url, "webhook_secret": SECRET, "stages": STAGES}
    app.write({"app": {**repo, "id": 1}, "blog": {**repo, "id": 2}})
    app.push("1")
    return app


def deliver(app: App, number: int) -> subprocess.Popen[bytes]:
    """Start deploy.cgi as a web server does; odd numbers are deliveries for the second repo."""
    repository = {"id": 1 + number % 2, "full_name": "octo/app"}
    body = json.dumps(push(repository=repository, after=app.upstream.head)).encode()
    env = {**app.cli.env, "DEPLOYCTL_CONFIG": str(app.cli.config)}
    env |= {"REQUEST_METHOD": "POST", "PATH_INFO": "", "GATEWAY_INTERFACE": "CGI/1.1"}
    for name, value in headers(body, number=f"delivery-{number}").items():
        prefix = "" if name.startswith("content-") else "HTTP_"
        env[prefix + name.upper().replace("-", "_")] = value
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "deploy.cgi")],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(body)
    process.stdin.close()
    process.stdin = None  # communicate() would flush it
    return process


def answer(process: subprocess.Popen[bytes]) -> tuple[str, dict[str, Any]]:
    """Wait for deploy.cgi; return the first line and the JSON object of its answer."""
    output, _ = process.communicate(timeout=60)
    head, _, body = output.partition(b"\r\n\r\n")
    return head.decode().split("\r\n")[0], json.loads(body)


def rows(app: App, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(app.state / "deployctl.db", timeout=30)) as db:
        return db.execute(query).fetchall()


def built_without_overlap(path: Path) -> list[str]:
    """Assert that no two stages overlapped; return the numbers of the deployments built."""
    lines = path.read_text().splitlines()
    numbers = [line.removeprefix("start ") for line in lines[::2]]
    assert lines == [f"{word} {number}" for number in numbers for word in ("start", "stop")]
    return numbers


def test_fifty_deliveries_at_once_are_all_answered_kept_and_deployed_one_at_a_time(
    crowd: App,
) -> None:
    processes = [deliver(crowd, number) for number in range(CROWD)]
    answers = [answer(process) for process in processes]
    assert Counter(head for head, _ in answers) == {"Status: 202 Accepted": CROWD}
    assert {document["result"] for _, document in answers} == {"queued"}
    stored = rows(crowd, "SELECT forge_id, id, deployment FROM deliveries ORDER BY id")
    assert sorted(name for name, _, _ in stored) == sorted(f"delivery-{n}" for n in range(CROWD))
    assert {(delivery, number) for _, delivery, number in stored} == {
        (document["delivery"], document["deployment"]) for _, document in answers
    }
    still_open = "SELECT 1 FROM deployments WHERE status IN ('queued', 'running')"
    wait_until(lambda: not rows(crowd, still_open), 60)
    ended = dict(rows(crowd, "SELECT status, count(*) FROM deployments GROUP BY status"))
    assert ended.keys() == {"succeeded", "superseded"}
    assert sum(ended.values()) == CROWD
    assert len(built_without_overlap(crowd.directory / "steps")) == 2, (
        "a revision that was live already was built again"
    )
    for name in ("app", "blog"):
        live = crowd.directory / name / "current" / "REVISION"
        assert live.read_text().strip() == crowd.upstream.head
    assert crowd.cli.json("run") == {"deployments": []}


def test_fifty_commands_at_once_deploy_one_repo_one_after_the_other(crowd: App) -> None:
    crowd.deploy()
    crowd.push("2")
    crowd.deploy()
    crowd.push("3")
    calls = [["deploy", "app", "--force"], ["rollback", "app"], *[["run"]] * 3] * (CROWD // 5)
    random.shuffle(calls)
    processes = [crowd.cli.start(*words) for words in calls]
    done = [finish(process) for process in processes]
    assert {command.code for command in done} <= {0, 5}, done

    assert dict(rows(crowd, "SELECT status, count(*) FROM deployments GROUP BY status")).keys() <= {
        "succeeded",
        "superseded",
        "cancelled",
    }
    built = built_without_overlap(crowd.directory / "steps")
    assert len(built) == len(set(built))
    # The last deployment that succeeded is live.
    live = crowd.status["live"]
    last = "SELECT revision FROM deployments WHERE status = 'succeeded' ORDER BY finished_at DESC"
    assert live["revision"] == rows(crowd, last)[0][0]
    assert crowd.cli.json("run") == {"deployments": []}
    assert rows(crowd, "PRAGMA integrity_check") == [("ok",)]
