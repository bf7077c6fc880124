"""A delivery goes all the way through nginx, fcgiwrap and deploy.cgi to the record and worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.system.environment import base_environment
from tests.conftest import WriteConfig
from tests.support.deliveries import REVISION, SECRET, headers, push
from tests.support.nginx import WebServer
from tests.support.servers import Response
from tests.support.workers import StubWorker

REFUSED = (
    b'{"result": "refused", "reason": "unknown repository, or credential missing or wrong", '
    b'"delivery": null, "deployment": null}\n'
)
StartServer = Callable[..., WebServer]


@pytest.fixture
def config(write_config: WriteConfig) -> Path:
    repos = {
        "app": {"id": 1296269, "webhook_secret": SECRET},
        "open": {"id": 2},
    }
    return write_config(repos)


@pytest.fixture
def worker(tmp_path: Path) -> StubWorker:
    """A stub worker that sleeps longer than an answer may take."""
    return StubWorker(tmp_path, seconds=3)


@pytest.fixture
def server(
    tmp_path: Path, config: Path, worker: StubWorker, web_server: StartServer
) -> Iterator[WebServer]:
    yield web_server(config, script=worker.write_deploy_cgi(tmp_path))


def post(
    server: WebServer,
    document: dict[str, Any] | bytes | None = None,
    *,
    path: str = "/deploy.cgi",
    extra: dict[str, str] | None = None,
    **about: Any,
) -> Response:
    """Post a delivery, by default a signed push of octo/Hello-World.

    ``about`` are arguments for :func:`tests.support.deliveries.headers`.
    """
    content = push() if document is None else document
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return server.request("POST", path, body, {**headers(body, **about), **(extra or {})})


def test_a_push_is_on_disk_before_it_is_answered(server: WebServer, tmp_path: Path) -> None:
    response = post(server)
    assert response.status == 202
    assert json.loads(response.body) == {
        "result": "queued",
        "reason": f"refs/heads/main is at {REVISION} now",
        "delivery": 1,
        "deployment": 1,
    }
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    with Database(str(tmp_path / "state"), read_only=True) as db:
        deployment = deployments.get(db, 1)
    assert deployment is not None
    assert (deployment.repo, deployment.status) == ("app", "queued")


def test_a_slow_worker_does_not_delay_the_answer(server: WebServer, worker: StubWorker) -> None:
    assert post(server).status == 202
    assert not worker.has_ended()
    assert worker.report()["argv"][-1] == "run"


def test_the_worker_inherits_nothing_from_the_request(
    server: WebServer, worker: StubWorker, config: Path
) -> None:
    post(server, extra={"Proxy": "http://192.0.2.1:3128"})
    report = worker.report()
    report["env"].pop("LC_CTYPE", None)  # set by Python itself where the locale is C (PEP 538)
    added = {"PYTHONPATH": str(worker.package.parent), "DEPLOYCTL_WAKE_FD": "3"}
    assert report["env"] == {**base_environment(), **added}
    assert report["argv"] == ["--config", str(config), "run"]
    wake = config.parent / "state" / "locks" / "wake.lock"
    assert report["files"] == ["/dev/null"] * 3 + [str(wake)]


def test_deploy_cgi_itself_answers_through_both_servers(
    config: Path, web_server: StartServer
) -> None:
    document = {"zen": "Keep it logically awesome.", "repository": {"id": 1296269}}
    response = post(web_server(config), document, event="ping")
    assert (response.status, json.loads(response.body)["result"]) == (200, "pong")


def test_all_deliveries_without_proof_get_exactly_the_same_answer(server: WebServer) -> None:
    responses = [
        post(server, secret=None),
        post(server, secret="wrong"),
        post(server, push(repository={"id": 3})),
        post(server, push(repository={"id": 2})),
        post(server, path="/deploy.cgi/open"),
        post(server, path="/deploy.cgi/nothing"),
    ]
    assert {(response.status, response.body) for response in responses} == {(401, REFUSED)}
    assert len({tuple(sorted(response.headers)) for response in responses}) == 1


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_a_large_refused_body_is_still_answered(server: WebServer, size: int) -> None:
    assert post(server, push(padding="x" * size), secret="wrong").status == 401


def test_a_body_above_the_limit_of_deployctl_and_below_that_of_nginx_is_answered_413(
    server: WebServer,
) -> None:
    response = post(server, push(padding="x" * 3_000_000))
    assert (response.status, json.loads(response.body)["result"]) == (413, "malformed")


def test_a_repeated_delivery_is_a_duplicate(server: WebServer) -> None:
    assert [post(server).status for _ in range(2)] == [202, 200]


def test_the_url_may_name_the_repo(server: WebServer) -> None:
    assert post(server, push(repository=None), path="/deploy.cgi/app").status == 202


def test_a_form_is_accepted_and_the_signature_covers_its_raw_bytes(server: WebServer) -> None:
    body = urlencode({"payload": json.dumps(push())}).encode()
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert post(server, body, extra=form).status == 202


@pytest.mark.parametrize("directives", ["", "fastcgi_request_buffering off;"])
def test_a_chunked_body_is_read(
    tmp_path: Path, config: Path, worker: StubWorker, web_server: StartServer, directives: str
) -> None:
    server = web_server(config, script=worker.write_deploy_cgi(tmp_path), directives=directives)
    body = json.dumps(push(padding="x" * 200_000)).encode()
    chunked = headers(body)
    del chunked["content-length"]
    chunks = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    assert server.request("POST", "/deploy.cgi", chunks, chunked).status == 202


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_only_post_is_allowed(server: WebServer, method: str) -> None:
    body = b"x" * 100_000 if method == "PUT" else b""
    response = server.request(method, "/deploy.cgi", body, {})
    assert (response.status, response.headers["allow"]) == (405, "POST")


def test_a_broken_config_is_answered_503(server: WebServer, config: Path) -> None:
    config.write_text("repos: [")
    response = post(server)
    assert (response.status, json.loads(response.body)) == (
        503,
        {
            "result": "error",
            "reason": "deliveries cannot be taken now; redeliver later",
            "delivery": None,
            "deployment": None,
        },
    )


def test_a_state_directory_that_cannot_be_written_is_answered_503(
    tmp_path: Path, worker: StubWorker, web_server: StartServer, write_config: WriteConfig
) -> None:
    (tmp_path / "file").touch()
    repos = {"app": {"id": 1296269, "webhook_secret": SECRET}}
    config = write_config(repos, state_dir=str(tmp_path / "file" / "state"))
    assert post(web_server(config, script=worker.write_deploy_cgi(tmp_path))).status == 503


def test_deploy_cgi_writes_nothing_to_stderr(server: WebServer) -> None:
    post(server)
    post(server, b"{")
    post(server, secret="wrong")
    assert "FastCGI" not in (server.directory / "error.log").read_text()
