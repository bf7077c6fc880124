"""HTTP/1.1 for inetd: strict parsing, chunked bodies, time limits, the end of a connection."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deployctl.webhook import inetd, serving
from deployctl.webhook.payload import MalformedError
from tests.conftest import WriteConfig
from tests.support.deliveries import SECRET, headers, push
from tests.support.paths import ROOT
from tests.webhook.test_cgi import HEAVY, UNAVAILABLE

BODY = json.dumps(push()).encode()
DEPLOY_CGI = str(ROOT / "deploy.cgi")


@pytest.fixture
def config(write_config: WriteConfig) -> Path:
    return write_config({"app": {"id": 1296269, "webhook_secret": SECRET}})


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "wake_worker", lambda *_: True)


class Response:
    """The parsed answer to one request."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.status, *self.lines = head.decode("ascii").split("\r\n")

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def reason(self) -> str:
        return str(self.document["reason"])


def head(
    line: str = "POST /deploy.cgi HTTP/1.1",
    body: bytes = BODY,
    more: Mapping[str, str] | None = None,
    **changes: str | None,
) -> bytes:
    """Return the request line and headers of a signed push; a header set to None is left out."""
    merged: dict[str, str | None] = {"host": "localhost", **headers(body), **(more or {})}
    merged.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"{name}: {value}" for name, value in merged.items() if value is not None]
    return "\r\n".join([line, *lines, "", ""]).encode("latin-1")


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


def chunked_head(encoding: str = "chunked", more: Mapping[str, str] | None = None) -> bytes:
    return head(content_length=None, transfer_encoding=encoding, more=more)


def serve(config: Path, request: bytes) -> Response:
    stdout = io.BytesIO()
    inetd.serve(str(config), io.BytesIO(request), stdout)
    return Response(stdout.getvalue())


def test_an_answer_is_complete_and_closes_the_connection(config: Path) -> None:
    response = serve(config, head() + BODY)
    date = response.lines.pop(0)
    assert re.fullmatch(r"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert (response.status, response.lines) == (
        "HTTP/1.1 202 Accepted",
        [
            "Connection: close",
            "Content-Type: application/json",
            "Cache-Control: no-store",
            f"Content-Length: {len(response.body)}",
        ],
    )
    assert (response.document["result"], response.document["deployment"]) == ("queued", 1)


def test_only_the_announced_body_is_read(config: Path) -> None:
    assert serve(config, head() + BODY + b"POST / HTTP/1.1\r\n").status == "HTTP/1.1 202 Accepted"


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (b"", "400 Bad Request", "a line does not end with CR and LF"),
        (b"GET /\r\n", "400 Bad Request", "the request line is malformed"),
        (b"\r\n" + head(), "400 Bad Request", "the request line is malformed"),
        (b"\x16\x03\x01\n", "400 Bad Request", "a line does not end with CR and LF"),
        (head().replace(b"\r\n", b"\n"), "400 Bad Request", "a line does not end with CR and LF"),
        (head("POST  /deploy.cgi HTTP/1.1"), "400 Bad Request", "the request line is malformed"),
        (head("POST /a b HTTP/1.1"), "400 Bad Request", "the request line is malformed"),
        (head("P(ST / HTTP/1.1"), "400 Bad Request", "the request line is malformed"),
        (head("POST / http/1.1"), "400 Bad Request", "the request line is malformed"),
        (head("POST / HTTP/1.1 "), "400 Bad Request", "the request line is malformed"),
        (head("POST /\xff HTTP/1.1"), "400 Bad Request", "the request line is malformed"),
        (
            head("PRI * HTTP/2.0"),
            "505 HTTP Version Not Supported",
            "only HTTP/1.0 and HTTP/1.1 are spoken here",
        ),
        (
            head(f"POST /{'x' * 9000} HTTP/1.1"),
            "414 URI Too Long",
            "a line is longer than 8192 bytes",
        ),
        (
            head("POST /else HTTP/1.1"),
            "404 Not Found",
            "nothing is here; the webhook is /deploy.cgi",
        ),
        (head(host=None), "400 Bad Request", "the header host is missing"),
        (head(Host="b"), "400 Bad Request", "the header host occurs twice"),
        (head(Content_Length="8"), "400 Bad Request", "the header content-length occurs twice"),
        (head(x="a\r\n b"), "400 Bad Request", "a header is malformed"),
        (head(x="a\rb"), "400 Bad Request", "a header is malformed"),
        (head(x="a\0b"), "400 Bad Request", "a header is malformed"),
        (head(more={"x ": "a"}), "400 Bad Request", "a header is malformed"),
        (head(more={"": "a"}), "400 Bad Request", "a header is malformed"),
        (
            head(content_length="-1"),
            "400 Bad Request",
            "the Content-Length is not a number of bytes",
        ),
        (
            head(content_length="8, 8"),
            "400 Bad Request",
            "the Content-Length is not a number of bytes",
        ),
        (head(content_length=None), "411 Length Required", "the Content-Length is missing"),
        (
            head(content_length="9999"),
            "400 Bad Request",
            "the body is shorter than its Content-Length",
        ),
        (
            head(content_length="9999999"),
            "413 Content Too Large",
            "the body is too large",
        ),
        (
            head(transfer_encoding="chunked"),
            "400 Bad Request",
            "there are both a Content-Length and a Transfer-Encoding",
        ),
        (
            chunked_head("gzip, chunked"),
            "501 Not Implemented",
            "the only Transfer-Encoding taken here is chunked",
        ),
        (
            chunked_head(more={"Transfer-Encoding": "chunked"}),
            "400 Bad Request",
            "the header transfer-encoding occurs twice",
        ),
        (
            head("POST / HTTP/1.0", content_length=None, transfer_encoding="chunked"),
            "400 Bad Request",
            "HTTP/1.0 has no Transfer-Encoding",
        ),
        (
            head(expect="200-ok"),
            "417 Expectation Failed",
            "the only Expect met here is 100-continue",
        ),
        (
            head(x="y" * 33_000),
            "431 Request Header Fields Too Large",
            None,
        ),
        (
            head(more={f"x{number}": "y" for number in range(101)}),
            "431 Request Header Fields Too Large",
            "there are more than 100 headers",
        ),
    ],
)
def test_a_request_that_breaks_a_rule_of_http_is_refused(
    config: Path, request_: bytes, status: str, reason: str | None
) -> None:
    response = serve(config, request_)
    assert response.status == f"HTTP/1.1 {status}"
    assert response.document["result"] == "malformed"
    assert reason in (response.reason, None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "CONNECT"])
@pytest.mark.parametrize("target", ["/deploy.cgi", "/", "/%zz", "*", "example.org:80"])
def test_a_method_other_than_post_is_refused_with_the_header_allow(
    config: Path, method: str, target: str
) -> None:
    response = serve(config, f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert response.status == "HTTP/1.1 405 Method Not Allowed"
    assert "Allow: POST" in response.lines
    assert response.reason == "only POST is answered here"


def test_the_answer_to_head_has_no_body(config: Path) -> None:
    response = serve(config, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (response.status, response.body) == ("HTTP/1.1 405 Method Not Allowed", b"")


def test_http_1_0_is_answered_too_and_its_expect_is_ignored(config: Path) -> None:
    request = head("POST /deploy.cgi HTTP/1.0", host=None, expect="x") + BODY
    assert serve(config, request).status == "HTTP/1.1 202 Accepted"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/?a=b", "/"),
        ("/deploy.cgi", ""),
        ("/deploy.cgi?/app", ""),
        ("/deploy.cgi/", "/"),
        ("/deploy.cgi/app", "/app"),
        ("/deploy.cgi/app?x=%zz", "/app"),
        ("/deploy.cgi/%61p%70", "/app"),
        ("/deploy%2Ecgi/caf%c3%a9", "/café"),
        ("http://example.org", ""),
        ("HTTPS://example.org:8443/deploy.cgi/app", "/app"),
        ("http://example.org?x", ""),
    ],
)
def test_the_target_names_the_repo(target: str, path: str) -> None:
    assert inetd.path_info(target.encode()) == path


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("*", "the request target is malformed"),
        ("app", "the request target is malformed"),
        ("example.org:443", "the request target is malformed"),
        ("ftp://example.org/deploy.cgi", "the request target is malformed"),
        ("http:///deploy.cgi", "the request target is malformed"),
        ("/deploy.cgi#app", "the request target is malformed"),
        ("/deploy.cgi/%", "the request target is malformed"),
        ("/deploy.cgi/%6", "the request target is malformed"),
        ("/deploy.cgi/%zz", "the request target is malformed"),
        ("/deploy.cgi/%+1", "the request target is malformed"),
        ("/deploy.cgi/%ff", "the request target is not in UTF-8"),
        ("/deploy.cgiapp", "nothing is here; the webhook is /deploy.cgi"),
        ("/app", "nothing is here; the webhook is /deploy.cgi"),
        ("//deploy.cgi", "nothing is here; the webhook is /deploy.cgi"),
    ],
)
def test_a_target_that_is_invalid_or_not_the_webhook_is_refused(target: str, message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        inetd.path_info(target.encode())
    assert str(caught.value) == message


def test_a_delivery_is_for_the_repo_in_the_target_only(config: Path) -> None:
    body = json.dumps(push(repository=None)).encode()
    answers = [
        serve(config, head(f"POST /deploy.cgi/{name} HTTP/1.1", body) + body).status
        for name in ("app", "else")
    ]
    assert answers == ["HTTP/1.1 202 Accepted", "HTTP/1.1 401 Unauthorized"]


def test_a_signature_header_that_occurs_twice_does_not_verify(config: Path) -> None:
    request = head(X_Hub_Signature_256="sha256=0") + BODY
    assert serve(config, request).status == "HTTP/1.1 401 Unauthorized"


@pytest.mark.parametrize(
    "body",
    [
        chunked(BODY),
        chunked(*(BODY[at : at + 1] for at in range(len(BODY)))),
        chunked(BODY[:9], BODY[9:], end=b"000\r\nX-Trailer: a\r\nContent-Length: 1\r\n\r\n"),
        b"%X;a=b; c\r\n%s\r\n0;d\r\n\r\n" % (len(BODY), BODY),
    ],
)
def test_a_chunked_body_is_decoded(config: Path, body: bytes) -> None:
    assert serve(config, chunked_head() + body).status == "HTTP/1.1 202 Accepted"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "a line does not end with CR and LF"),
        (b"5\r\n{", "the body ends within a chunk"),
        (b"1\r\n{}\r\n0\r\n\r\n", "a chunk does not end where its size says"),
        (b"1\n{\r\n0\r\n\r\n", "a line does not end with CR and LF"),
        (b"1\r\n{\n0\r\n\r\n", "a chunk does not end where its size says"),
        (b"0x1\r\n{\r\n0\r\n\r\n", "the size of a chunk is malformed"),
        (b"-1\r\n{\r\n0\r\n\r\n", "the size of a chunk is malformed"),
        (b"+1\r\n{\r\n0\r\n\r\n", "the size of a chunk is malformed"),
        (b" 1\r\n{\r\n0\r\n\r\n", "the size of a chunk is malformed"),
        (b"1_0\r\n{\r\n0\r\n\r\n", "the size of a chunk is malformed"),
        (b"000000001\r\n{\r\n0\r\n\r\n", "the size of a chunk is malformed"),
        (b"\r\n{\r\n0\r\n\r\n", "the size of a chunk is malformed"),
        (b"1;" + b"x" * 300 + b"\r\n{\r\n0\r\n\r\n", "a line is longer than 256 bytes"),
        (chunked(b"{}", end=b"0\r\n"), "a line does not end with CR and LF"),
        (chunked(b"{}", end=b"0\r\nbad trailer\r\n\r\n"), "a header is malformed"),
        (chunked(b"{}", end=b""), "a line does not end with CR and LF"),
    ],
)
def test_a_chunked_body_that_breaks_the_rules_is_malformed(
    config: Path, body: bytes, reason: str
) -> None:
    response = serve(config, chunked_head() + body)
    assert (response.status, response.reason) == ("HTTP/1.1 400 Bad Request", reason)


def test_a_chunked_body_beyond_the_limit_is_too_large(config: Path) -> None:
    body = chunked(*([b"x" * 100_000] * 11))
    assert serve(config, chunked_head() + body).status == "HTTP/1.1 413 Content Too Large"


def test_a_client_that_expects_100_continue_gets_it_once(config: Path) -> None:
    request = chunked_head(more={"Expect": "100-Continue"}) + chunked(BODY)
    stdout = io.BytesIO()
    inetd.serve(str(config), io.BytesIO(request), stdout)
    first, _, rest = stdout.getvalue().partition(b"\r\n\r\n")
    assert first == b"HTTP/1.1 100 Continue"
    assert Response(rest).status == "HTTP/1.1 202 Accepted"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head(expect="100-continue", content_length="9999999"), "413 Content Too Large"),
        (head(expect="100-continue", content_type="text/plain"), "415 Unsupported Media Type"),
        (head("PUT / HTTP/1.1", expect="100-continue"), "405 Method Not Allowed"),
    ],
)
def test_a_client_whose_body_is_refused_gets_no_100_continue(
    config: Path, request_: bytes, status: str
) -> None:
    assert serve(config, request_).status == f"HTTP/1.1 {status}"


class Connection:
    """A connection to ``deploy.cgi``, which has the other end as its stdin, stdout and stderr."""

    def __init__(self, argv: list[str], **environ: str) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        with listener:
            self.client = socket.create_connection(listener.getsockname(), timeout=20)
            server_end, _ = listener.accept()
        with server_end:
            self.process = subprocess.Popen(
                argv,
                env={"PATH": os.defpath, **environ},
                stdin=server_end.fileno(),
                stdout=server_end.fileno(),
                stderr=server_end.fileno(),
            )

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.wait(timeout=20)

    def read(self) -> bytes:
        """Return all bytes until the other side closes the connection."""
        return b"".join(iter(lambda: self.client.recv(65536), b""))


def program(code: str) -> list[str]:
    """Return the argv of a process that runs ``code`` and then inetd.main; no worker is started."""
    setup = "from deployctl.webhook import inetd, serving; serving.wake_worker = lambda *_: True"
    return [sys.executable, "-c", f"import os, sys; {setup}\n{code}\ninetd.main()"]


@pytest.fixture
def environ(config: Path) -> dict[str, str]:
    return {"DEPLOYCTL_CONFIG": str(config), "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    "argv",
    [
        [sys.executable, DEPLOY_CGI],
        [sys.executable, "-m", "deployctl", "receive", "--inetd"],
    ],
)
def test_without_a_cgi_environment_the_program_speaks_http_itself(
    argv: list[str], environ: dict[str, str]
) -> None:
    body = json.dumps({"repository": {"id": 1296269}}).encode()
    variables = {**environ, "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "1"}
    with Connection(argv, **variables) as connection:
        connection.client.sendall(head(body=body, x_github_event="ping") + body)
        response = Response(connection.read())
    assert (response.status, response.document["result"]) == ("HTTP/1.1 200 OK", "pong")


def test_nothing_written_to_stderr_reaches_the_client(environ: dict[str, str]) -> None:
    code = "inetd.serve = lambda *_: os.write(2, b'!')"
    with Connection(program(code), **environ) as connection:
        assert connection.read() == b""


def test_a_client_that_sends_a_body_that_is_too_large_still_gets_the_answer(
    environ: dict[str, str],
) -> None:
    request = head(content_length="30000000")
    with Connection(program(""), **environ) as connection:
        connection.client.sendall(request + b"x" * 30_000_000)
        assert Response(connection.read()).status == "HTTP/1.1 413 Content Too Large"
        assert connection.process.wait(10) == 0


def test_the_process_ends_soon_if_the_client_does_not_close_the_connection(
    environ: dict[str, str],
) -> None:
    with Connection(program("inetd.SECONDS_OF_SILENCE = 0.1"), **environ) as connection:
        connection.client.sendall(head() + BODY)
        assert Response(connection.read()).status == "HTTP/1.1 202 Accepted"
        assert connection.process.wait(10) == 0


@pytest.mark.parametrize("sent", [b"", b"POST /deploy.cgi HT"])
def test_a_client_that_sends_no_whole_head_is_answered_at_the_time_limit(
    environ: dict[str, str], sent: bytes
) -> None:
    with Connection(program("serving.SECONDS = 1"), **environ) as connection:
        connection.client.sendall(sent)
        response = Response(connection.read())
    assert response.status == "HTTP/1.1 503 Service Unavailable"
    assert response.document == UNAVAILABLE


@pytest.mark.parametrize("sent", [head(), chunked_head() + b"5\r\n{"])
def test_a_client_that_sends_no_whole_body_is_refused_at_the_time_limit(
    environ: dict[str, str], sent: bytes
) -> None:
    with Connection(program("serving.SECONDS = 1"), **environ) as connection:
        connection.client.sendall(sent)
        response = Response(connection.read())
    assert response.status == "HTTP/1.1 400 Bad Request"
    assert response.document["reason"] == "the body did not come within 1 s"


def test_a_client_that_never_stops_sending_does_not_keep_the_process_alive(
    environ: dict[str, str],
) -> None:
    with Connection(program("serving.SECONDS = 1"), **environ) as connection:
        began = time.monotonic()
        for _ in until_ended(connection):
            connection.client.sendall(b"x")
        assert time.monotonic() - began < 8
        assert connection.process.wait(10) in (0, -signal.SIGALRM)


def until_ended(connection: Connection) -> Iterator[None]:
    """Send the head of a large request, then yield every 50 ms until the process has ended."""
    connection.client.sendall(head(content_length="9999999"))
    while connection.process.poll() is None:
        try:
            yield
        except OSError:
            return
        time.sleep(0.05)


@pytest.mark.parametrize("sent", [b"", head(), head(expect="100-continue")])
def test_a_client_that_resets_the_connection_ends_the_process_and_is_not_logged(
    tmp_path: Path, config: Path, environ: dict[str, str], sent: bytes
) -> None:
    serve(config, head() + BODY)
    with Connection(program(""), **environ) as connection:
        connection.client.sendall(sent)
        reset = struct.pack("ii", 1, 0)
        connection.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        connection.client.close()
        assert connection.process.wait(10) == 0
    assert not (tmp_path / "state" / "logs" / "webhook.log").exists()


def test_100_continue_is_sent_before_the_body_is_read(environ: dict[str, str]) -> None:
    with Connection(program(""), **environ) as connection:
        connection.client.sendall(head(expect="100-continue"))
        assert connection.client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.client.sendall(BODY)
        assert Response(connection.read()).status == "HTTP/1.1 202 Accepted"


def test_it_imports_nothing_heavy(config: Path, environ: dict[str, str]) -> None:
    serve(config, head() + BODY)
    serve(config, head(x_github_delivery="d-2") + BODY)
    code = (
        "import io, sys; before = set(sys.modules)\nfrom deployctl.webhook import inetd, serving\n"
        "from deployctl.system import wake\n"
        "serving.wake_worker = lambda *_: wake.worker_environment()\n"
        f"inetd.serve({str(config)!r}, sys.stdin.buffer, io.BytesIO())\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    request = head(x_github_delivery="d-3") + BODY
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environ, input=request, capture_output=True
    )
    imported = done.stdout.decode().split()
    assert done.stderr == b""
    assert "deployctl.webhook.forges.github" in imported
    assert {"http", "email", *HEAVY}.isdisjoint(imported)
