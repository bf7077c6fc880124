from __future__ import annotations

import contextlib
import email.policy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from deployctl.notices.messenger import Message, send, send_all
from deployctl.values.repo import Channel
from deployctl.values.secret import Secret
from tests.support.bark import KEY, Bark, bark
from tests.support.paths import ROOT


class Mailbox:
    """A handler for aiosmtpd that keeps the mails that arrive."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[tuple[str | None, list[str]]] = []

    async def handle_DATA(  # noqa: N802 - the name aiosmtpd calls
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def smtp(mailbox: Mailbox, **settings: Any) -> Iterator[int]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), **settings)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def mail_channel(port: int, login: str = "", timeout: float = 20.0) -> Channel:
    url = f"mailto://{login}127.0.0.1:{port}?from=deploy@example.org&to=ops@example.org"
    return Channel("mail", Secret(url), timeout)


def test_a_message_reaches_a_self_hosted_bark_server() -> None:
    with bark() as server:
        assert send(server.channel(), "blog: deployed", "Tür ✓\nby alice", urgent=False) is None
    (path, post), *more = server.posts
    assert not more
    assert path == "/push"
    assert (post["device_key"], post["title"], post["body"]) == (
        KEY,
        "blog: deployed",
        "Tür ✓\nby alice",
    )
    assert "level" not in post


def test_an_urgent_message_has_the_level_time_sensitive() -> None:
    with bark() as server:
        assert send(server.channel(), "title", "body", urgent=True) is None
    assert server.posts[0][1]["level"] == "timeSensitive"


def test_a_level_in_the_url_overrides_that_of_an_urgent_message() -> None:
    with bark() as server:
        channel = server.channel(extra="?group=deploy&level=passive")
        assert send(channel, "title", "body", urgent=True) is None
    post = server.posts[0][1]
    assert (post["level"], post["group"]) == ("passive", "deploy")


def test_the_answer_of_a_failing_server_is_quoted_without_the_key() -> None:
    with bark("error") as server:
        error = send(server.channel(), "title", "body", urgent=False)
    assert error is not None
    assert error.startswith("channel phone: Failed to send Bark notification")
    assert "error=500" in error
    assert "no token for [hidden]" in error
    assert KEY not in error
    assert "\x1b" not in error


def test_a_refused_connection_is_reported_without_the_key() -> None:
    channel = Channel("phone", Secret(f"bark://127.0.0.1:{free_port()}/{KEY}"))
    error = send(channel, "title", "body", urgent=False)
    assert error is not None
    assert "Connection refused" in error
    assert KEY not in error


def test_a_redirect_is_not_followed() -> None:
    with bark("redirect") as server:
        error = send(server.channel(), "title", "body", urgent=False)
    assert error is not None
    assert "error=307" in error


@pytest.mark.parametrize("manner", ["hang", "trickle"])
def test_a_sending_that_does_not_finish_is_ended_at_its_timeout(manner: str) -> None:
    with bark(manner) as server:
        started = time.monotonic()
        error = send(server.channel(timeout=6), "title", "body", urgent=False)
        took = time.monotonic() - started
    assert error == "channel phone: not sent within 6 s"
    assert server.asked.is_set()
    assert 6 <= took < 20


def test_a_channel_that_hangs_does_not_delay_another_one() -> None:
    with bark("hang") as slow, bark() as quick:
        started = time.monotonic()
        answered: list[float] = []

        def watch() -> None:
            quick.asked.wait(20)
            answered.append(time.monotonic() - started)

        watcher = threading.Thread(target=watch)
        watcher.start()
        errors = send_all(
            [
                Message(slow.channel("slow", timeout=6), "title", "body"),
                Message(quick.channel("quick"), "title", "body"),
            ]
        )
        watcher.join()
    assert errors == ["channel slow: not sent within 6 s", None]
    assert answered[0] < 6


def test_an_answer_is_waited_for_longer_than_the_four_seconds_of_apprise() -> None:
    with bark("late") as server:
        assert send(server.channel(), "title", "body", urgent=False) is None
    assert len(server.posts) == 1


def test_the_callers_proxy_and_netrc_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login alice password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with bark() as server:
        assert send(server.channel(), "title", "body", urgent=False) is None
    assert "Authorization" not in server.headers[0]


def test_a_mail_with_a_subject_that_is_not_ascii_arrives_as_plain_text() -> None:
    mailbox = Mailbox()
    with smtp(mailbox) as port:
        error = send(mail_channel(port), "blög: läuft wieder", "Tür <b>✓\nby alice", urgent=True)
    assert error is None
    assert mailbox.envelopes == [("deploy@example.org", ["ops@example.org"])]
    mail = mailbox.mails[0]
    assert mail["Subject"] == "blög: läuft wieder"
    part = mail.get_body(("plain",))
    assert part is not None
    assert part.get_content().split() == ["Tür", "<b>✓", "by", "alice"]


def test_a_mail_server_that_requires_a_password_gets_it() -> None:
    mailbox, seen = Mailbox(), []

    def authenticate(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, credentials: Any
    ) -> AuthResult:
        seen.append((credentials.login, credentials.password))
        return AuthResult(success=True)

    with smtp(mailbox, authenticator=authenticate, auth_require_tls=False) as port:
        assert send(mail_channel(port, "alice:hunter2@"), "title", "body", urgent=False) is None
    assert seen == [(b"alice", b"hunter2")]
    assert len(mailbox.mails) == 1


def test_the_answer_of_a_mail_server_is_quoted_without_the_password() -> None:
    def refuse(*_: object) -> AuthResult:
        return AuthResult(success=False, message="535 5.7.8 hunter2 is wrong", handled=False)

    with smtp(Mailbox(), authenticator=refuse, auth_require_tls=False) as port:
        error = send(mail_channel(port, "alice:hunter2@"), "title", "body", urgent=False)
    assert error is not None
    assert "535" in error
    assert "hunter2" not in error


def test_a_missing_secret_is_reported_with_its_channel() -> None:
    channel = Channel("phone", Secret("env:DEPLOYCTL_TEST_NO_SUCH_VARIABLE"))
    assert send(channel, "title", "body", urgent=False) == (
        "channel phone: the environment variable DEPLOYCTL_TEST_NO_SUCH_VARIABLE"
        " is empty or not set: put the secret there"
    )


@pytest.mark.parametrize("url", ["nosuch://host/key", "no url", "bark://"])
def test_an_unusable_url_is_reported_with_its_channel(url: str) -> None:
    assert send(Channel("phone", Secret(url)), "title", "body", urgent=False) == (
        "channel phone: its url is not one Apprise knows:"
        " write it as on https://appriseit.com/services/"
    )


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with bark("error") as server:
        send_all(
            [
                Message(server.channel(), "title", "body"),
                Message(server.channel(extra="?sound=nosuch"), "title", "body", urgent=True),
                Message(Channel("unknown", Secret("nosuch://host/key")), "title", "body"),
            ]
        )
    assert capfd.readouterr() == ("", "")


SENDER_PROGRAM = """
import sys
from deployctl.notices.messenger import send
from deployctl.values.repo import Channel
from deployctl.values.secret import Secret
channel = Channel("phone", Secret(sys.argv[1]), float(sys.argv[2]))
print(send(channel, "title", "body", urgent=False))
"""


def start_sender(server: Bark, timeout: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SENDER_PROGRAM, server.url(), str(timeout)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def session_has_ended(session: int) -> bool:
    """Tell whether every process of a session ends within 8 seconds."""
    deadline = time.monotonic() + 8
    while running := [state for sid, state in _processes() if sid == session and state not in "ZX"]:
        if time.monotonic() > deadline:
            return not running
        time.sleep(0.02)
    return True


def _processes() -> Iterator[tuple[int, str]]:
    """Yield (session, state) of every process.

    An orphan remains a zombie, state Z, if no process waits for it.
    """
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            yield int(session), state


def test_a_sending_that_hangs_does_not_delay_the_end_of_its_caller() -> None:
    with bark("hang") as server, start_sender(server, 1) as process:
        started = time.monotonic()
        output, errors = process.communicate(timeout=20)
        assert time.monotonic() - started < 8
        assert (output, errors) == ("channel phone: not sent within 1 s\n", "")
        assert session_has_ended(process.pid)


def test_an_interrupted_sending_ends_at_once_and_leaves_no_process() -> None:
    with bark("hang") as server, start_sender(server, 60) as process:
        assert server.asked.wait(20)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert "KeyboardInterrupt" in errors
        assert session_has_ended(process.pid)


def test_a_sending_ends_at_its_deadline_even_if_its_caller_was_killed() -> None:
    with bark("hang") as server, start_sender(server, 4) as process:
        assert server.asked.wait(20)
        process.kill()
        process.communicate(timeout=20)
        assert session_has_ended(process.pid)
