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
    """Keeps the mails that arrive."""

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


def mail_channel(port: int, who: str = "", timeout: float = 20.0) -> Channel:
    url = f"mailto://{who}127.0.0.1:{port}?from=deploy@example.org&to=ops@example.org"
    return Channel("mail", Secret(url), timeout)


def test_a_notice_reaches_a_bark_server_of_ones_own() -> None:
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


def test_an_urgent_notice_breaks_through_the_quiet_of_a_phone() -> None:
    with bark() as server:
        assert send(server.channel(), "title", "body", urgent=True) is None
    assert server.posts[0][1]["level"] == "timeSensitive"


def test_the_level_in_the_url_counts_more() -> None:
    with bark() as server:
        channel = server.channel(extra="?group=deploy&level=passive")
        assert send(channel, "title", "body", urgent=True) is None
    post = server.posts[0][1]
    assert (post["level"], post["group"]) == ("passive", "deploy")


def test_a_server_that_fails_is_quoted_without_the_key() -> None:
    with bark("error") as server:
        error = send(server.channel(), "title", "body", urgent=False)
    assert error is not None
    assert error.startswith("channel phone: Failed to send Bark notification")
    assert "error=500" in error
    assert "no token for [hidden]" in error
    assert KEY not in error
    assert "\x1b" not in error


def test_a_server_that_is_not_there_is_named_as_the_cause_without_the_key() -> None:
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
def test_a_channel_that_does_not_end_is_ended_at_its_timeout(manner: str) -> None:
    with bark(manner) as server:
        begun = time.monotonic()
        error = send(server.channel(timeout=3), "title", "body", urgent=False)
        took = time.monotonic() - begun
        assert server.asked.is_set()
    assert error == "channel phone: not sent within 3 s"
    assert 3 <= took < 8


def test_a_channel_that_hangs_does_not_delay_another_one() -> None:
    with bark("hang") as slow, bark() as quick:
        begun = time.monotonic()
        answered: list[float] = []

        def watch() -> None:
            quick.asked.wait(20)
            answered.append(time.monotonic() - begun)

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


def test_an_answer_later_than_the_four_seconds_of_apprise_is_waited_for() -> None:
    with bark("late") as server:
        assert send(server.channel(), "title", "body", urgent=False) is None
    assert len(server.posts) == 1


def test_the_callers_proxy_and_netrc_do_not_matter(
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


def test_a_mail_server_that_wants_a_password_gets_it() -> None:
    mailbox, seen = Mailbox(), []

    def check(server: SMTP, session: Session, envelope: Envelope, how: str, who: Any) -> AuthResult:
        seen.append((who.login, who.password))
        return AuthResult(success=True)

    with smtp(mailbox, authenticator=check, auth_require_tls=False) as port:
        assert send(mail_channel(port, "alice:hunter2@"), "title", "body", urgent=False) is None
    assert seen == [(b"alice", b"hunter2")]
    assert len(mailbox.mails) == 1


def test_a_mail_server_that_refuses_the_password_is_quoted_without_it() -> None:
    def refuse(*_: object) -> AuthResult:
        return AuthResult(success=False, message="535 5.7.8 hunter2 is wrong", handled=False)

    with smtp(Mailbox(), authenticator=refuse, auth_require_tls=False) as port:
        error = send(mail_channel(port, "alice:hunter2@"), "title", "body", urgent=False)
    assert error is not None
    assert "535" in error
    assert "hunter2" not in error


def test_a_secret_that_is_not_there_is_named_with_its_channel() -> None:
    channel = Channel("phone", Secret("env:DEPLOYCTL_TEST_NO_SUCH_VARIABLE"))
    assert send(channel, "title", "body", urgent=False) == (
        "channel phone: the environment variable DEPLOYCTL_TEST_NO_SUCH_VARIABLE"
        " is empty or not set: put the secret there"
    )


@pytest.mark.parametrize("url", ["nosuch://host/key", "no url", "bark://"])
def test_a_url_that_is_none_is_said_with_its_channel(url: str) -> None:
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
                Message(Channel("odd", Secret("nosuch://host/key")), "title", "body"),
            ]
        )
    assert capfd.readouterr() == ("", "")


HANGING = """
import sys
from deployctl.notices.messenger import send
from deployctl.values.repo import Channel
from deployctl.values.secret import Secret
channel = Channel("phone", Secret(sys.argv[1]), float(sys.argv[2]))
print(send(channel, "title", "body", urgent=False))
"""


def sender(server: Bark, timeout: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HANGING, server.url(), str(timeout)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def nobody_is_left(session: int) -> bool:
    """Whether every process of that session has ended, within a few seconds."""
    deadline = time.monotonic() + 8
    while running := [state for sid, state in _processes() if sid == session and state not in "ZX"]:
        if time.monotonic() > deadline:
            return not running
        time.sleep(0.02)
    return True


def _processes() -> Iterator[tuple[int, str]]:
    """(session, state) of each; an orphan may stay a zombie where nobody collects it."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            yield int(session), state


def test_a_hung_sending_does_not_keep_the_process_from_its_end() -> None:
    with bark("hang") as server, sender(server, 1) as process:
        begun = time.monotonic()
        output, errors = process.communicate(timeout=20)
        assert time.monotonic() - begun < 8
        assert (output, errors) == ("channel phone: not sent within 1 s\n", "")
        assert nobody_is_left(process.pid)


def test_an_interrupted_sending_ends_at_once_and_leaves_nothing() -> None:
    with bark("hang") as server, sender(server, 60) as process:
        assert server.asked.wait(20)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert "KeyboardInterrupt" in errors
        assert nobody_is_left(process.pid)


def test_the_deadline_holds_when_nobody_is_left_to_keep_it() -> None:
    with bark("hang") as server, sender(server, 4) as process:
        assert server.asked.wait(20)
        process.kill()
        process.communicate(timeout=20)
        assert nobody_is_left(process.pid)
