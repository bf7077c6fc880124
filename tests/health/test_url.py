"""Health checks with real servers, most of them misbehaving ones."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from deployctl import __version__
from deployctl.health.check import HealthResult
from deployctl.values.repo import HealthCheck
from tests.support.health import Page, check_url, message_of, serve, single_try


@contextmanager
def raw_server(talk: Callable[[socket.socket], None], *, peek: bool = False) -> Iterator[str]:
    """Run a server that calls ``talk`` for every connection; yield its url.

    The request is read before ``talk`` is called; with ``peek`` it stays in the socket.
    Connections are closed at the end of the block.
    """
    connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=talk_quietly, args=(connection,), daemon=True).start()

    def talk_quietly(connection: socket.socket) -> None:
        try:
            connection.recv(65536, socket.MSG_PEEK if peek else 0)
            talk(connection)
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in connections:
        connection.close()


def create_self_signed(key: str, certificate: str) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=app.example"
    argv = [*command.split(), "-keyout", key, "-out", certificate]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)


# Healthy and unhealthy responses


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_2xx_status_is_healthy(status: int) -> None:
    with serve(Page((status, b""))) as url:
        result = check_url(single_try(url))
    assert result == HealthResult(True, result.message, 1)
    assert message_of(result, url) == f"GET URL answered {status} (1 try in TIME)"


def test_another_status_is_not_healthy_and_its_body_is_shown() -> None:
    with serve(Page((500, b"no database\n\x1b[31m at db.js:3"))) as url:
        result = check_url(single_try(url))
    assert not result.ok
    assert message_of(result, url) == "GET URL answered 500, wanted 2xx (1 try in TIME)"
    assert result.tail == "no database\n\\x1b[31m at db.js:3"
    assert (result.exit_code, result.signal, result.timed_out, result.command) == (
        None,
        None,
        False,
        None,
    )


def test_configured_statuses_replace_2xx() -> None:
    with serve(Page((401, b""), (200, b""))) as url:
        healthcheck = replace(single_try(url), status=(401, 403))
        assert check_url(healthcheck).ok
        assert (
            message_of(check_url(healthcheck), url)
            == "GET URL answered 200, wanted 401 or 403 (1 try in TIME)"
        )


def test_a_redirect_is_not_followed_and_is_judged_by_its_status() -> None:
    page = Page((302, b"moved"), headers={"Location": "/log\x1bin"})
    with serve(page) as url:
        result = check_url(single_try(url))
        assert check_url(replace(single_try(url), status=(302,))).ok
    assert message_of(result, url) == (
        "GET URL answered 302 to /log\\x1bin (not followed), wanted 2xx (1 try in TIME)"
    )
    assert [request["path"] for request in page.requests] == ["/ping", "/ping"]


def test_the_body_must_contain_the_configured_text() -> None:
    with serve(Page((200, b'{"status": "ok"}'))) as url:
        assert message_of(check_url(replace(single_try(url), contains='"ok"')), url) == (
            'GET URL answered 200 with ""ok"" (1 try in TIME)'
        )
        result = check_url(replace(single_try(url), contains="fine"))
    assert message_of(result, url) == 'GET URL answered 200 but without "fine" (1 try in TIME)'
    assert result.tail == '{"status": "ok"}'


def test_only_the_beginning_of_a_huge_body_is_read_and_less_is_shown() -> None:
    with serve(Page((200, b"x" * 50_000_000 + b"needle"))) as url:
        result = check_url(replace(single_try(url), contains="needle"))
    assert message_of(result, url) == (
        'GET URL answered 200 but without "needle" in its first 64 KiB (1 try in TIME)'
    )
    assert result.tail == "x" * 2048


def test_an_endless_body_does_no_harm_if_no_text_is_searched_in_it() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"data: tick\n\n")
            time.sleep(0.05)

    with raw_server(endless) as url:
        assert check_url(single_try(url)).ok


def test_headers_are_sent_and_proxies_and_netrc_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    page = Page((200, b""))
    with serve(page) as url:
        assert check_url(
            replace(single_try(url), headers={"X-Probe": "1", "Host": "app.example"})
        ).ok
    (request,) = page.requests
    assert request["User-Agent"] == f"deployctl/{__version__}"
    assert (request["X-Probe"], request["Host"]) == ("1", "app.example")
    assert "Authorization" not in request


# Servers that do not answer properly


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_refused_connection_is_reported() -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    assert (
        message_of(check_url(single_try(url)), url)
        == "GET URL refused the connection (1 try in TIME)"
    )


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def trickle_headers(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def trickle_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("talk", "phrase"),
    [
        (hang, "did not answer within 0.4s"),
        (trickle_headers, "did not answer within 0.4s"),
        (trickle_body, "answered 200 but its body did not end within 0.4s"),
    ],
)
def test_a_server_that_hangs_or_trickles_is_cut_off_at_the_timeout(
    talk: Callable[[socket.socket], None], phrase: str
) -> None:
    began = time.monotonic()
    with raw_server(talk) as url:
        result = check_url(HealthCheck(url=url, timeout=0.4, deadline=0.0, contains="ok"))
        assert time.monotonic() - began < 2
    assert message_of(result, url) == f"GET URL {phrase} (1 try in TIME)"


def test_a_bad_status_is_reported_with_the_beginning_of_an_incomplete_body() -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 99\r\n\r\nno database\r\n")
        connection.recv(1)

    with raw_server(talk) as url:
        result = check_url(HealthCheck(url=url, timeout=0.4, deadline=0.0))
    assert message_of(result, url) == "GET URL answered 503, wanted 2xx (1 try in TIME)"
    assert result.tail == "no database\n"


def test_a_server_that_accepts_no_connection_is_reported() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        clients = [socket.socket() for _ in range(3)]  # they fill the queue of the listener
        for client in clients:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        result = check_url(HealthCheck(url=url, timeout=0.4, deadline=0.0))
        for client in clients:
            client.close()
    assert message_of(result, url) == "GET URL got no connection within 0.4s (1 try in TIME)"


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-\x1b[2J\r\n", "got no HTTP: the server said SSH-2.0-\\x1b[2J"),
        (b"\r\n", "got no HTTP: the server sent an empty line"),
        (b"\x15\x03\x01\0\2\2\x0a", "was answered in TLS: write https://, or another port"),
        (
            b"HTTP/1.1 200\r\n" + b"A: b\r\n" * 101,
            "got no proper answer: got more than 100 headers",
        ),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nabc", "answered 500, wanted 2xx"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            "answered 200 but broke off after 3 bytes of the body, 6 more were to come",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "answered 200 but broke off after 2 bytes of the body, 3 more were to come",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno",
            "answered 200 but broke off: Error -3 while decompressing data: incorrect header check",
        ),
    ],
)
def test_a_response_that_is_not_proper_http_is_reported(answer: bytes, phrase: str) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)

    with raw_server(talk) as url:
        healthcheck = replace(single_try(url), contains="ok")
        assert message_of(check_url(healthcheck), url) == f"GET URL {phrase} (1 try in TIME)"


def test_a_server_without_tls_is_reported() -> None:
    with serve(Page((200, b""))) as plain:
        url = plain.replace("http:", "https:")
        message = message_of(check_url(single_try(url)), url)
    assert message == (
        "GET URL failed in TLS: the server does not speak it: write http://, or another port"
        " (1 try in TIME)"
    )


def test_a_certificate_that_is_not_trusted_is_reported(tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    create_self_signed(key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def talk(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True)

    with raw_server(talk, peek=True) as plain:
        url = plain.replace("http:", "https:")
        message = message_of(check_url(single_try(url)), url).replace("self signed", "self-signed")
    assert message == "GET URL failed in TLS: self-signed certificate (1 try in TIME)"


@pytest.mark.parametrize(
    ("host", "phrase"),
    [
        ("nobody.invalid", "found no address of its host: "),
        ("a" * 70 + ".example", "has no proper host: label "),
    ],
)
def test_a_host_without_an_address_is_reported(host: str, phrase: str) -> None:
    result = check_url(single_try(f"http://{host}/"))
    assert not result.ok
    assert result.message.startswith(f"GET http://{host}/ {phrase}")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ("http://[fe80::1]:8000/", "fe80::1"),
        ("http://[::ffff:169.254.169.254]/", "169.254.169.254"),
        ("http://2852039166/", "169.254.169.254"),
    ],
)
def test_no_request_is_sent_to_link_local_addresses(url: str, address: str) -> None:
    message = message_of(check_url(single_try(url)), url)
    assert message == f"GET URL is not sent: {address} is a link-local address (1 try in TIME)"


# Unix sockets


def test_a_unix_socket_is_asked_with_the_host_localhost(tmp_path: Path) -> None:
    path = str(tmp_path / "run.sock")
    with unix_server(path) as requests:
        url = f"http+unix://{quote(path, safe='')}/ping?a=b"
        result = check_url(HealthCheck(url=url, deadline=0.0))
    assert result.message.startswith(f"GET {url} answered 200")
    (request,) = requests
    assert request.startswith(b"GET /ping?a=b HTTP/1.1\r\n")
    assert b"\r\nHost: localhost\r\n" in request


def test_a_unix_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = f"http+unix://{quote(str(tmp_path / 'run.sock'), safe='')}/"
    result = check_url(HealthCheck(url=url, deadline=0.0))
    assert not result.ok
    assert "No such file or directory" in result.message


@contextmanager
def unix_server(path: str) -> Iterator[list[bytes]]:
    """Answer requests at a Unix socket with status 200; yield the list of the requests."""
    requests: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield requests
        thread.join()
