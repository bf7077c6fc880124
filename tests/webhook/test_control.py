"""Orders by signed messages: what the command line does, once each, and not for long."""

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
    document: Any, *, secret: str = SECRET, number: str = "m-1", stamp: float = NOW, path: str = ""
) -> Request:
    body = json.dumps(document).encode()
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    text = f"{number}.{int(stamp)}.".encode() + body
    digest = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "webhook-id": number,
        "webhook-timestamp": str(int(stamp)),
        "webhook-signature": f"v1,{digest}",
    }
    return Request("POST", path, headers, io.BytesIO(body))


class Inbox:
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
    made = Inbox(tmp_path / "state")
    yield made
    made.db.close()


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
def test_a_signed_order_is_queued(inbox: Inbox, message: Any, order: tuple[Any, ...]) -> None:
    answer = inbox.post(signed({**message, "repo": "app", "actor": "ada"}))
    assert (answer.status, answer.result, answer.deployment) == (202, "queued", 1)
    task, wanted, to = order
    assert inbox.orders() == [("app", task, "webhook", "ada", wanted, to, 1)]


@pytest.mark.parametrize("forge", [None, "github", "standard-webhooks"])
def test_it_is_taken_whatever_the_forge_of_the_repo(inbox: Inbox, forge: str | None) -> None:
    repo = {"forge": forge, "secrets": [WHSEC], "id": None}
    message = {"action": "deploy", "repo": "app"}
    assert inbox.post(signed(message, secret=WHSEC), app=repo).result == "queued"


def test_the_url_may_name_the_repo_too_but_no_other(inbox: Inbox) -> None:
    message = {"action": "deploy", "repo": "app"}
    assert inbox.post(signed(message, path="/other")).status == 401
    assert inbox.post(signed(message, path="/app")).status == 202


def test_an_order_is_good_once(inbox: Inbox) -> None:
    message = {"action": "rollback", "repo": "app"}
    assert inbox.post(signed(message)).status == 202
    for later in (0, 200):
        again = inbox.post(signed(message, stamp=NOW + later), now=NOW + later)
        assert (again.status, again.result, again.delivery) == (401, "refused", None)
    assert inbox.post(signed(message, number="m-2")).status == 202


@pytest.mark.parametrize("late", [-302, 302])
def test_a_stale_order_is_refused(inbox: Inbox, late: int) -> None:
    assert inbox.post(signed({"action": "deploy", "repo": "app"}), now=NOW + late).status == 401
    assert inbox.orders() == []


def test_only_a_secret_of_that_repo_signs_its_orders(inbox: Inbox) -> None:
    repos: dict[str, Any] = {"app": {"secrets": ["this one's"]}, "other": {"secrets": [SECRET]}}
    assert inbox.post(signed({"action": "deploy", "repo": "app"}), **repos).status == 401
    assert inbox.post(signed({"action": "deploy", "repo": "nothing"}), **repos).status == 401


def test_nobody_gives_orders_with_the_public_key_of_sourcehut(inbox: Inbox) -> None:
    key = "uX7KWyyDNMaBma4aVbJ/cbUQpdjqczuCyK/HxzV/u+4="
    message = {"action": "rollback", "repo": "app"}
    for forge in ("sourcehut", None, "github"):
        for path in ("", "/app"):
            made = signed(message, secret=key, path=path)
            assert inbox.post(made, app={"forge": forge, "secrets": [key]}).status == 401
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
def test_an_order_that_makes_no_sense_is_malformed(inbox: Inbox, message: Any) -> None:
    assert inbox.post(signed(message)).status == 400
    assert inbox.orders() == []


def post(app: App, message: Any, number: str) -> dict[str, Any]:
    """Through the command that deploy.cgi is a front of."""
    request = signed(message, number=number, stamp=time.time())
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


def settle(app: App) -> None:
    """Until the worker that was started has done its work."""
    wait_until(lambda: not app.status["queued"] and not app.status["running"])


def test_an_order_does_what_the_command_line_does(app: App) -> None:
    app.configure(webhook_secret=SECRET)
    app.release("1")
    app.release("2")
    assert post(app, {"action": "rollback", "repo": "app"}, "m-1")["result"] == "queued"
    settle(app)
    assert (app.live, app.status["hold"]["revision"]) == ("1", app.upstream.head)
    assert post(app, {"action": "deploy", "repo": "app"}, "m-2")["result"] == "queued"
    settle(app)
    (held, back, *_) = app.cli.json("history")["deployments"]
    assert (held["status"], back["task"], app.live) == ("cancelled", "rollback", "1")
    app.cli("resume", "app")
    post(app, {"action": "deploy", "repo": "app", "to": app.upstream.head[:8]}, "m-3")
    settle(app)
    assert app.live == "2"
    post(app, {"action": "rollback", "repo": "app", "to": "99"}, "m-4")
    settle(app)
    newest = app.cli.json("history")["deployments"][0]
    assert (newest["status"], newest["actor"]) == ("cancelled", "control")
    assert "no release 99" in newest["reason"]
