"""CGI: the environment, the answer, errors, the time limit, and what a delivery imports."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployctl.store.database import Database
from deployctl.webhook import cgi, serving
from tests.conftest import WriteConfig
from tests.support.deliveries import SECRET, headers, push
from tests.support.paths import ROOT

DEPLOY_CGI = str(ROOT / "deploy.cgi")
UNAVAILABLE = {
    "result": "error",
    "reason": "deliveries cannot be taken now; redeliver later",
    "delivery": None,
    "deployment": None,
}
# Importing any of these takes longer than all the rest of a delivery, or leads to such imports.
HEAVY = {
    *("apprise", "asyncio", "click", "dataclasses", "email", "git", "inspect", "logging"),
    *("pathlib", "requests", "shutil", "subprocess", "tempfile", "threading", "traceback"),
    *("typing", "urllib.parse", "yaml"),
}


@pytest.fixture
def config(write_config: WriteConfig) -> Path:
    repo = {"id": 1296269, "webhook_secret": SECRET}
    return write_config({"app": repo})


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "wake_worker", lambda *_: True)


def environ(body: bytes, **changes: str | None) -> dict[str, str]:
    """Return the CGI environment of a signed push; a variable set to None is left out."""
    sent = headers(body)
    variables = {"REQUEST_METHOD": "POST", "PATH_INFO": "", "GATEWAY_INTERFACE": "CGI/1.1"}
    for name, value in sent.items():
        prefix = "" if name.startswith("content-") else "HTTP_"
        variables[prefix + name.upper().replace("-", "_")] = value
    merged = {**variables, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def serve(
    config: Path | str | None, body: bytes | None = None, **changes: str | None
) -> tuple[list[str], dict[str, Any]]:
    """Serve one request -> the header lines and the JSON of the answer."""
    body = json.dumps(push()).encode() if body is None else body
    stdout = io.BytesIO()
    cgi.serve(str(config) if config else None, environ(body, **changes), io.BytesIO(body), stdout)
    return parsed(stdout.getvalue())


def parsed(output: bytes) -> tuple[list[str], dict[str, Any]]:
    """Return the header lines and the JSON of an answer."""
    head, _, body = output.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert f"Content-Length: {len(body)}" in lines
    return lines, json.loads(body)


def run_cgi(code: str, stdin: bytes | None, env: dict[str, str]) -> tuple[bytes, bytes]:
    """Run ``code`` in a process of its own -> what it wrote to stdout and stderr.

    ``stdin`` None: nothing is written to its stdin, and it stays open.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**env, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if stdin is not None:
        return process.communicate(stdin, 20)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdin is not None
    with process, process.stdin:
        return process.stdout.read(), process.stderr.read()


def test_an_answer_has_a_status_and_constant_headers(config: Path) -> None:
    lines, document = serve(config)
    assert lines == [
        "Status: 202 Accepted",
        "Content-Type: application/json",
        "Cache-Control: no-store",
        lines[3],
    ]
    assert (document["result"], document["deployment"]) == ("queued", 1)


def test_no_text_of_a_request_gets_into_the_headers_of_the_answer(config: Path) -> None:
    body = json.dumps(push(ref="refs/heads/x\r\nSet-Cookie: a=b")).encode()
    lines, document = serve(config, body)
    assert [line.partition(":")[0] for line in lines] == [
        "Status",
        "Content-Type",
        "Cache-Control",
        "Content-Length",
    ]
    assert document["reason"] == "refs/heads/xSet-Cookie: a=b is not deployed here"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_method_other_than_post_is_refused_with_the_header_allow(
    config: Path, method: str
) -> None:
    lines, _ = serve(config, b"", REQUEST_METHOD=method, CONTENT_LENGTH="")
    assert lines[0] == "Status: 405 Method Not Allowed"
    assert "Allow: POST" in lines


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"CONTENT_LENGTH": ""}, "411 Length Required"),
        ({"CONTENT_LENGTH": None}, "411 Length Required"),
        ({"CONTENT_LENGTH": "x"}, "400 Bad Request"),
        ({"CONTENT_LENGTH": "9999999"}, "413 Content Too Large"),
        ({"CONTENT_LENGTH": "9999"}, "400 Bad Request"),
        ({"CONTENT_TYPE": "text/plain"}, "415 Unsupported Media Type"),
        ({"CONTENT_TYPE": None}, "415 Unsupported Media Type"),
        ({"HTTP_X_HUB_SIGNATURE_256": None}, "401 Unauthorized"),
        ({"PATH_INFO": "/nothing"}, "401 Unauthorized"),
        ({"PATH_INFO": "/app"}, "202 Accepted"),
        ({"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}, "202 Accepted"),
        ({"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}, "202 Accepted"),
        ({"HTTP_CONTENT_LENGTH": "1", "HTTP_CONTENT_TYPE": "x"}, "202 Accepted"),
        ({"HTTP_X_GITHUB_EVENT": "ping"}, "200 OK"),
    ],
)
def test_the_status_follows_from_the_environment(
    config: Path, changes: dict[str, str | None], status: str
) -> None:
    assert serve(config, None, **changes)[0][0] == f"Status: {status}"


@pytest.mark.parametrize("text", ["repos: [", "repos: {}\nbrnach: main\n"])
def test_a_broken_config_is_answered_503_without_its_text(config: Path, text: str) -> None:
    config.write_text(text)
    lines, document = serve(config)
    assert (lines[0], document) == ("Status: 503 Service Unavailable", UNAVAILABLE)


def test_a_missing_config_is_answered_503(tmp_path: Path) -> None:
    assert serve(tmp_path / "nothing.yml")[1] == UNAVAILABLE


def test_a_state_directory_that_cannot_be_written_is_answered_503(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    (tmp_path / "file").touch()
    repos = {"app": {"id": 1296269, "webhook_secret": SECRET}}
    config = write_config(repos, state_dir=str(tmp_path / "file" / "state"))
    lines, document = serve(config)
    assert (lines[0], document) == ("Status: 503 Service Unavailable", UNAVAILABLE)


def test_a_full_disk_is_answered_503_and_logged(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(config)
    write = Database.writing

    def writing_to_a_full_disk(self: Database) -> object:
        pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
        self.connection.execute(f"PRAGMA max_page_count = {pages}")
        return write(self)

    monkeypatch.setattr(Database, "writing", writing_to_a_full_disk)
    answers = [serve(config, HTTP_X_GITHUB_DELIVERY=f"d-{number}") for number in range(100)]
    assert answers[-1][1] == UNAVAILABLE
    log = (tmp_path / "state" / "logs" / "webhook.log").read_text()
    assert "cannot write the record" in log
    assert "Traceback" not in log


def test_a_bug_is_answered_503_and_its_traceback_is_logged(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(config)

    def receive(*_: object, **__: object) -> None:
        raise RuntimeError("half a pair: \ud800")

    monkeypatch.setattr(serving, "receive", receive)
    assert serve(config)[1] == UNAVAILABLE
    log = tmp_path / "state" / "logs" / "webhook.log"
    assert log.stat().st_mode & 0o777 == 0o600
    first, *_, last = log.read_text().strip().splitlines()
    assert first.endswith("Z webhook")
    assert last == "RuntimeError: half a pair: \\ud800"


def test_a_log_that_is_full_is_renamed_and_a_new_one_begins(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(config)
    log = tmp_path / "state" / "logs" / "webhook.log"
    log.write_bytes(b"x" * serving.MAX_LOG)
    monkeypatch.setattr(serving, "receive", lambda *_, **__: 1 / 0)
    for _ in range(3):
        assert serve(config)[1] == UNAVAILABLE
    old = log.with_name("webhook.log.1")
    assert "ZeroDivisionError" in old.read_text()
    assert log.read_text().count("ZeroDivisionError") == 2


def test_the_body_is_read_to_its_end_whatever_the_answer(config: Path) -> None:
    body = b"x" * 2_000_000
    stdin = io.BytesIO(body)
    for changes in ({"REQUEST_METHOD": "PUT"}, {"CONTENT_TYPE": "x"}, {}):
        stdin.seek(0)
        cgi.serve(str(config), environ(body, **changes), stdin, io.BytesIO())
        assert stdin.tell() == len(body)


def test_deploy_cgi_works_from_a_checkout_through_a_link_elsewhere(
    tmp_path: Path, config: Path
) -> None:
    link = tmp_path / "hook.cgi"
    link.symlink_to(DEPLOY_CGI)
    done = subprocess.run(
        [sys.executable, str(link)],
        check=False,
        cwd=tmp_path,
        env={**environ(b"", REQUEST_METHOD="GET"), "DEPLOYCTL_CONFIG": str(config)},
        input=b"",
        capture_output=True,
    )
    assert parsed(done.stdout)[0][0] == "Status: 405 Method Not Allowed"
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_client_that_sends_no_body_is_refused_at_the_time_limit(config: Path) -> None:
    code = "from deployctl.webhook import cgi, serving; serving.SECONDS = 1; cgi.main()"
    env = {**environ(b"", CONTENT_LENGTH="100"), "DEPLOYCTL_CONFIG": str(config)}
    stdout, stderr = run_cgi(code, None, env)
    reason = "the body did not come within 1 s"
    malformed = {"result": "malformed", "reason": reason, "delivery": None, "deployment": None}
    assert (parsed(stdout)[1], stderr) == (malformed, b"")


def test_a_record_locked_by_another_process_is_answered_503_at_the_time_limit(
    tmp_path: Path, config: Path
) -> None:
    serve(config)
    code = "from deployctl.webhook import cgi, serving; serving.SECONDS = 1; cgi.main()"
    body = json.dumps(push()).encode()
    with Database(str(tmp_path / "state")) as db, db.writing():
        stdout, _ = run_cgi(code, body, {**environ(body), "DEPLOYCTL_CONFIG": str(config)})
    assert parsed(stdout)[1] == UNAVAILABLE


def test_an_answer_that_needs_no_body_is_sent_though_the_body_never_ends(config: Path) -> None:
    code = "from deployctl.webhook import cgi, serving; serving.SECONDS = 5; cgi.main()"
    env = {
        **environ(b"", CONTENT_LENGTH="100", REQUEST_METHOD="PUT"),
        "DEPLOYCTL_CONFIG": str(config),
    }
    assert parsed(run_cgi(code, None, env)[0])[0][0] == "Status: 405 Method Not Allowed"


def test_a_process_that_hangs_while_it_answers_is_ended(config: Path) -> None:
    code = (
        "import time\nfrom deployctl.webhook import cgi, serving\n"
        "serving.SECONDS = serving.SECONDS_TO_ANSWER = 1\n"
        "cgi._response = lambda answer: time.sleep(20)\ncgi.main()"
    )
    env = {**environ(b"", CONTENT_LENGTH="100"), "DEPLOYCTL_CONFIG": str(config)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**env, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    with process:
        assert process.wait(10) == -signal.SIGALRM


def test_nothing_is_ever_written_to_stderr(config: Path) -> None:
    code = (
        "import os\nfrom deployctl.webhook import cgi\n"
        "cgi.serve = lambda *_: os.write(2, b'!')\ncgi.main()"
    )
    assert run_cgi(code, b"", dict(os.environ)) == (b"", b"")


def test_a_delivery_imports_nothing_heavy(config: Path) -> None:
    serve(config)
    serve(config, HTTP_X_GITHUB_DELIVERY="d-2")
    code = (
        "import sys; before = set(sys.modules)\nfrom deployctl.webhook import cgi, serving\n"
        "from deployctl.system import wake\n"
        "import os, io\nserving.wake_worker = lambda *_: wake.worker_environment()\n"
        f"cgi.serve({str(config)!r}, os.environ, sys.stdin.buffer, io.BytesIO())\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    body = json.dumps(push()).encode()
    stdout, stderr = run_cgi(code, body, environ(body, HTTP_X_GITHUB_DELIVERY="d-3"))
    imported = stdout.decode().split()
    assert stderr == b""
    assert "deployctl.webhook.forges.github" in imported
    assert HEAVY.isdisjoint(imported)
