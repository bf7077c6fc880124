"""Control and bidirectional characters from elsewhere are shown escaped, never written raw."""

from __future__ import annotations

import io
import json
import re
import time
from typing import Any

from deployctl.config.compiled import load_webhook_config
from deployctl.webhook.receive import receive
from deployctl.webhook.request import Request
from tests.support.app import App
from tests.support.bark import bark
from tests.support.deliveries import SECRET, headers, push
from tests.support.failing_server import failing_server

# An ANSI colour, a C1 control sequence, a bell, a carriage return, right-to-left overrides.
EVIL = "\x1b[31mred\x9b2J\x07\rover\u202edlo\u2066"
# Those of these characters that git allows in a branch's name (git-check-ref-format(1)).
BRANCH = "feature-\u202e\x9b31mx"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def run_failing_deployments(app: App, port: int, channel: str) -> None:
    """Let deployments fail in a stage and in the health check: both failures quote output."""
    top = {"channels": {"phone": channel}, "status_page": str(app.directory / "page")}
    usual: dict[str, Any] = {"webhook_secret": SECRET, "id": 1296269, "notify": ["phone"]}
    octal = "".join(f"\\{byte:03o}" for byte in EVIL.encode())
    app.configure(top, **usual, stages=[{"name": "say", "run": f"printf '{octal}\\n'; exit 1"}])
    app.cli("deploy", "app", "--ref", BRANCH, env={"SUDO_USER": EVIL})
    url = f"http://127.0.0.1:{port}/"
    check = {"url": url, "deadline": 1}
    app.configure(top, **usual, stages=[], healthcheck=check)
    app.cli("deploy", "app", "--ref", BRANCH, env={"SUDO_USER": EVIL})


def deliver(app: App) -> None:
    """Deliver a push, a push with a wrong signature, and an unknown event, all with EVIL texts."""
    config = load_webhook_config(str(app.cli.config))
    for number, secret in enumerate((SECRET, "wrong")):
        document = push(
            ref=f"refs/heads/{BRANCH}",
            after=app.upstream.head,
            pusher={"name": EVIL, "email": "o@example.org"},
            head_commit={"message": EVIL},
        )
        body = json.dumps(document, ensure_ascii=False).encode()
        extra = {"x-other": EVIL, "user-agent": EVIL}
        request = Request(
            "POST",
            "",
            {**headers(body, number=f"d{number}{EVIL}", secret=secret), **extra},
            io.BytesIO(body),
        )
        receive(request, config, now=time.time(), wake=lambda _: None)
    body = json.dumps(push(), ensure_ascii=False).encode()
    other = Request("POST", "", headers(body, event=EVIL, number="d-other"), io.BytesIO(body))
    receive(other, config, now=time.time(), wake=lambda _: None)


def test_no_command_notice_or_page_writes_a_control_character(app: App) -> None:
    app.upstream.branch(BRANCH)
    app.push("1", f"Fix {EVIL}")
    with bark() as phone, failing_server(lambda _: f"oh {EVIL}\n") as port:
        run_failing_deployments(app, port, phone.url())
        deliver(app)
        app.cli("run")
        app.cli("lock", "app", "-m", EVIL, env={"SUDO_USER": EVIL})
        count = app.cli.count()
        deliveries = [entry["id"] for entry in app.cli.json("delivery", "list")["deliveries"]]
        calls: list[tuple[str, ...]] = [
            ("status",),
            ("history",),
            *(("show", str(number)) for number in range(1, count + 1)),
            *(("logs", str(number)) for number in range(1, count + 1)),
            ("logs", "1", "--failed"),
            ("notices",),
            ("check",),
            ("rollback", "app", "--list"),
            ("deploy", "app"),
            ("deploy", EVIL),
            ("delivery", "list"),
            *(("delivery", verb, str(id_)) for id_ in deliveries for verb in ("show", "explain")),
        ]
        done = [(call, app.cli(*call)) for call in calls]
        outputs = {call: result.stdout + result.stderr for call, result in done}
        sent = [post["title"] + post["body"] for _, post in phone.posts]
    assert len(deliveries) == 3
    assert [call for call, text in outputs.items() if CONTROL.search(text)] == []
    assert len(sent) >= 2
    assert [text for text in sent if CONTROL.search(text)] == []
    page = (app.directory / "page" / "index.html").read_text()
    assert not CONTROL.search(page)
    assert "\\x1b[31mred\\x9b2J" in page
    assert "\\x1b[31mred" in outputs[("show", "1")]
