"""deploy.cgi run by real servers: Apache, lighttpd, busybox by CGI; inetd, xinetd, systemd."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WriteConfig
from tests.support.cgi_hosts import CGI_HOSTS, CgiHost
from tests.support.deliveries import REVISION, SECRET, headers, push
from tests.support.readme import snippet
from tests.support.servers import Response, installed_program
from tests.support.workers import StubWorker


@pytest.fixture
def worker(tmp_path: Path) -> StubWorker:
    """A worker that sleeps longer than an answer may take."""
    return StubWorker(tmp_path, seconds=3)


@pytest.fixture(params=CGI_HOSTS, ids=lambda kind: kind.__name__)
def host(
    request: pytest.FixtureRequest, tmp_path: Path, worker: StubWorker, write_config: WriteConfig
) -> Iterator[CgiHost]:
    config = write_config({"app": {"id": 1296269, "webhook_secret": SECRET}})
    directory = tmp_path / "host"
    directory.mkdir()
    started: CgiHost = request.param(directory, config, worker)
    yield started
    started.stop()


def post(
    host: CgiHost,
    document: dict[str, Any] | None = None,
    *,
    path: str = "",
    extra: dict[str, str] | None = None,
    **options: Any,
) -> Response:
    """Send a signed push of octo/Hello-World, unless the arguments say otherwise."""
    body = json.dumps(push() if document is None else document).encode()
    return host.request("POST", path, body, {**headers(body, **options), **(extra or {})})


def test_a_push_is_stored_and_answered_and_its_worker_inherits_nothing_of_the_request(
    host: CgiHost, worker: StubWorker, tmp_path: Path
) -> None:
    response = post(host, extra={"Proxy": "http://192.0.2.1:3128"})
    assert not worker.has_ended()
    assert response.status == 202, host.log()
    assert json.loads(response.body) == {
        "result": "queued",
        "reason": f"refs/heads/main is at {REVISION} now",
        "delivery": 1,
        "deployment": 1,
    }
    assert response.headers["content-type"] == "application/json"
    record = sqlite3.connect(f"file:{tmp_path}/state/deployctl.db?mode=ro", uri=True)
    assert record.execute("SELECT repo, status FROM deployments").fetchall() == [("app", "queued")]
    record.close()
    report = worker.report()
    assert report["files"] == ["/dev/null"] * 3 + [f"{tmp_path}/state/locks/wake.lock"]
    assert report["session"] != host.process.pid
    inherited = [name for name in report["env"] if name.startswith(("HTTP", "DEPLOYCTL"))]
    assert inherited == ["DEPLOYCTL_WAKE_FD"]
    assert report["argv"] == ["--config", host.config, "run"]


def test_a_refused_delivery_of_any_size_is_answered(host: CgiHost) -> None:
    large, too_large = push(padding="x" * 900_000), push(padding="x" * 3_000_000)
    statuses = [
        post(host, large, secret="wrong").status,
        post(host, too_large).status,
        post(host, path="/nothing").status,
        post(host, push(repository=None), path="/app").status,
    ]
    assert statuses == [401, 413, 401, 202]
    assert "Traceback" not in host.log()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_only_post_is_allowed(host: CgiHost, method: str) -> None:
    body = b"x" * 200_000 if method == "PUT" else b""
    response = host.request(method, body=body)
    assert (response.status, response.headers["allow"]) == (405, "POST")


def test_a_chunked_body_is_read_if_the_host_supports_chunks(host: CgiHost) -> None:
    body = json.dumps(push(padding="x" * 200_000)).encode()
    sent = headers(body)
    del sent["content-length"]
    chunks = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    expected = 202 if host.takes_chunks else 400
    assert host.request("POST", "", chunks, sent).status == expected


def test_systemd_accepts_the_units_of_the_readme_without_warnings(tmp_path: Path) -> None:
    program = {"/opt/deployctl/bin/deploy.cgi": "/bin/true"}
    units = [tmp_path / "deployctl.socket", tmp_path / "deployctl@.service"]
    units[0].write_text(snippet("systemd.socket", {}))
    units[1].write_text(snippet("systemd.service", program))
    done = subprocess.run(
        [installed_program("systemd-analyze"), "verify", *units],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")
