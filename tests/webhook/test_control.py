"""Control messages: signed orders to deploy or roll back, accepted once and for 300 s."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.store.database import Database
from deployctl.webhook.receive import Answer, receive
from deployctl.webhook.request import Request
from tests.support.app import App
from tests.support.deliveries import SECRET, webhook_config
from tests.support.workers import wait_until

NOW = 1_700_000_000.0
WHSEC = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


def signed(
    document: Any,
    *,
    secret: str = SECRET,
    message_id: str = "m-1",
    stamp: float = NOW,
    path: str = "",
) -> Request:
    """Return a request with a signed control message; ``stamp`` is in seconds."""
    body = json.dumps(document).encode()
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    text = f"{message_id}.{int(stamp)}.".encode() + body
    digest = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "webhook-id": message_id,
        "webhook-timestamp": str(int(stamp)),
        "webhook-signature": f"v1,{digest}",
    }
    return Request("POST", path, headers, io.BytesIO(body))


class Inbox:
    """The record, with receive() for the repos ``app`` and ``other``."""

    def __init__(self, state_dir: Path) -> None:
        self.db = Database(str(state_dir))

    def post(self, request: Request, now: float = NOW, **repos: Any) -> Answer:
        config = webhook_config(self.db.state_dir, **(repos or {"app": {}, "other": {}}))
        return receive(request, config, now=now, wake=lambda _: None)

    def orders(self) -> list[tuple[Any, ...]]:
        columns = "repo, task, trigger, actor, wanted_revision, rollback_to, by_hand"
        rows = self.db.connection.execute(f"SELECT {columns} FROM deployments ORDER BY number")
        return [tuple(row) for row in rows]


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    opened = Inbox(tmp_path / "state")
    yield opened
    opened.db.close()


@pytest.mark.parametrize(
    ("message", "order"),
    [
        ({"action": "deploy"}, ("deploy", None, None)),
        ({"action": "deploy", "to": "abcd1234"}, ("deploy", "abcd1234", None)),
        ({"action": "rollback"}, ("rollback", None, None)),
        ({"action": "rollback", "to": None}, ("rollback", None, None)),
        ({"action": "rollback", "to": 17}, ("rollback", None, "17")),
        ({"action": "rollback", "to": "#17"}, ("rollback", None, "17")),
        ({"action": "rollback", "to": "ABCD"}, ("rollback", None, "abcd")),
    ],
)
def test_a_signed_control_message_is_queued(
    inbox: Inbox, message: Any, order: tuple[Any, ...]
) -> None:
    answer = inbox.post(signed({**message, "repo": "app", "actor": "ada"}))
    assert (answer.status, answer.result, answer.deployment) == (202, "queued", 1)
    task, wanted_revision, rollback_to = order
    assert inbox.orders() == [("app", task, "webhook", "ada", wanted_revision, rollback_to, 1)]


@pytest.mark.parametrize("forge", [None, "github", "standard-webhooks"])
def test_a_repo_of_any_forge_accepts_control_messages(inbox: Inbox, forge: str | None) -> None:
    repo = {"forge": forge, "secrets": [WHSEC], "id": None}
    message = {"action": "deploy", "repo": "app"}
    assert inbox.post(signed(message, secret=WHSEC), app=repo).result == "queued"


def test_the_url_may_name_the_repo_of_the_message_but_no_other_repo(inbox: Inbox) -> None:
    message = {"action": "deploy", "repo": "app"}
    assert inbox.post(signed(message, path="/other")).status == 401
    assert inbox.post(signed(message, path="/app")).status == 202


def test_a_control_message_is_accepted_only_once(inbox: Inbox) -> None:
    message = {"action": "rollback", "repo": "app"}
    assert inbox.post(signed(message)).status == 202
    for delay in (0, 200):
        second = inbox.post(signed(message, stamp=NOW + delay), now=NOW + delay)
        assert (second.status, second.result, second.delivery) == (401, "refused", None)
    assert inbox.post(signed(message, message_id="m-2")).status == 202


@pytest.mark.parametrize("seconds", [-302, 302])
def test_a_control_message_with_an_old_or_future_time_stamp_is_refused(
    inbox: Inbox, seconds: int
) -> None:
    assert inbox.post(signed({"action": "deploy", "repo": "app"}), now=NOW + seconds).status == 401
    assert inbox.orders() == []


def test_a_control_message_is_verified_with_a_secret_of_its_repo_only(inbox: Inbox) -> None:
    repos: dict[str, Any] = {"app": {"secrets": ["this one's"]}, "other": {"secrets": [SECRET]}}
    assert inbox.post(signed({"action": "deploy", "repo": "app"}), **repos).status == 401
    assert inbox.post(signed({"action": "deploy", "repo": "nothing"}), **repos).status == 401


def test_the_public_key_of_sourcehut_verifies_no_control_message(inbox: Inbox) -> None:
    key = "uX7KWyyDNMaBma4aVbJ/cbUQpdjqczuCyK/HxzV/u+4="
    message = {"action": "rollback", "repo": "app"}
    for forge in ("sourcehut", None, "github"):
        for path in ("", "/app"):
            request = signed(message, secret=key, path=path)
            assert inbox.post(request, app={"forge": forge, "secrets": [key]}).status == 401
    assert inbox.orders() == []


@pytest.mark.parametrize(
    "message",
    [
        {"action": "delete", "repo": "app"},
        {"action": "deploy", "repo": ""},
        {"action": "deploy", "repo": 7},
        {"action": "deploy", "repo": "app", "to": "main"},
        {"action": "deploy", "repo": "app", "to": ["abcd"]},
        {"action": "rollback", "repo": "app", "to": ""},
    ],
)
def test_an_invalid_control_message_is_malformed(inbox: Inbox, message: Any) -> None:
    assert inbox.post(signed(message)).status == 400
    assert inbox.orders() == []


def send_to_app(app: App, message: Any, message_id: str) -> dict[str, Any]:
    """Pass a control message to ``deployctl receive``, as by CGI, and return the answer."""
    request = signed(message, message_id=message_id, stamp=time.time())
    headers = {name.upper().replace("-", "_"): text for name, text in request.headers.items()}
    env = {
        **app.cli.env,
        **{f"HTTP_{name}": text for name, text in headers.items()},
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": request.headers["content-length"],
    }
    done = subprocess.run(
        app.cli.argv("receive"),
        env=env,
        input=json.dumps(message).encode(),
        capture_output=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout.partition(b"\r\n\r\n")[2])
    return answer


def wait_for_worker(app: App) -> None:
    """Wait until the worker that was started has finished all deployments."""
    wait_until(lambda: not app.status["queued"] and not app.status["running"])


def test_a_control_message_acts_like_the_command_line(app: App) -> None:
    app.configure(webhook_secret=SECRET)
    app.release("1")
    app.release("2")
    assert send_to_app(app, {"action": "rollback", "repo": "app"}, "m-1")["result"] == "queued"
    wait_for_worker(app)
    assert (app.live, app.status["hold"]["revision"]) == ("1", app.upstream.head)
    assert send_to_app(app, {"action": "deploy", "repo": "app"}, "m-2")["result"] == "queued"
    wait_for_worker(app)
    (newest, previous, *_) = app.cli.json("history")["deployments"]
    assert (newest["status"], previous["task"], app.live) == ("cancelled", "rollback", "1")
    app.cli("resume", "app")
    send_to_app(app, {"action": "deploy", "repo": "app", "to": app.upstream.head[:8]}, "m-3")
    wait_for_worker(app)
    assert app.live == "2"
    send_to_app(app, {"action": "rollback", "repo": "app", "to": "99"}, "m-4")
    wait_for_worker(app)
    newest = app.cli.json("history")["deployments"][0]
    assert (newest["status"], newest["actor"]) == ("cancelled", "control")
    assert "no release 99" in newest["reason"]
