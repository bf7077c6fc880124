"""Leak secrets in every possible way, and look for them in all files, outputs and notices."""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import json
import os
import threading
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from deployctl.config.compiled import load_webhook_config
from deployctl.webhook.receive import receive
from deployctl.webhook.request import Request
from tests.support.app import App
from tests.support.bark import bark
from tests.support.deliveries import headers, push
from tests.support.failing_server import failing_server
from tests.support.workers import wait_until

# Two secrets that no other test has, also where several tests run at once.
CANARY = f"{os.getpid()}K4n4/ri+vogel~%sing{os.getpid()}"
WEBHOOK = f"{os.getpid()}W3bh00k&Can/ary+wert{os.getpid()}"

QUOTED = quote(CANARY, safe="")
# A step that prints the secret in many forms. 300 lines come first, so that the forms are among
# the last lines, which failures and notices quote.
LEAKS = f"""
i=0; while [ $i -lt 300 ]; do echo "line $i $TOKEN"; i=$((i + 1)); done
printf %s "$TOKEN" | base64
printf %s "deploy:$TOKEN" | base64
echo 'https://deploy:{QUOTED}@example.org/ token={quote_plus(CANARY)}'
git ls-remote 'https://deploy:{QUOTED}@127.0.0.1:1/x' || git ls-remote '/nowhere/{CANARY}' || true
printf %s "$TOKEN" | cut -c1-12 | tr -d "\\n"; sleep 0.3; printf %s "$TOKEN" | cut -c13-
printf '{{"token": "%s"}}\\n' "$TOKEN"
"""


class CommandLineWatcher(threading.Thread):
    """Read the command line of every process, over and over, and keep those with a secret."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.leaking: list[bytes] = []
        self.rounds = 0

    def run(self) -> None:
        while not self.stopping.is_set():
            self.rounds += 1
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if leaked(line):
                        self.leaking.append(line)
            time.sleep(0.01)


def forms(secret: str) -> list[bytes]:
    """Return the secret plain, URL-quoted, as in JSON, and in base64.

    Its base64 has three forms, by the number of bytes in front of it, modulo 3.
    """
    raw = secret.encode()
    shifted = [base64.b64encode(b"x" * n + raw)[4 : (n + len(raw)) * 8 // 6] for n in range(3)]
    quoted = [quote(secret), quote(secret, safe=""), quote_plus(secret)]
    words = [secret, *quoted, secret.replace("/", "\\/"), json.dumps(secret)[1:-1]]
    return [*(word.encode() for word in words), *shifted]


def leaked(data: bytes) -> list[bytes]:
    """Return the forms of the two secrets, and their first and last ten bytes, that are in data."""
    halves = [part.encode() for word in (CANARY, WEBHOOK) for part in (word[:10], word[-10:])]
    wanted = [*forms(CANARY), *forms(WEBHOOK), *halves]
    return [form for form in dict.fromkeys(wanted) if form in data]


def leaking_files(directory: Path) -> list[tuple[str, list[bytes]]]:
    """Return the files below the directory that contain a secret, with the forms of it."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    found = [(path.name, leaked(path.read_bytes())) for path in files]
    # The webhook needs its secret to verify deliveries; only this account may read that file.
    allowed = {"config.json": set(forms(WEBHOOK)) | {WEBHOOK[:10].encode(), WEBHOOK[-10:].encode()}}
    return [(name, forms) for name, forms in found if set(forms) - allowed.get(name, set())]


def echoing_server() -> contextlib.AbstractContextManager[int]:
    """Run a server whose error page repeats the request and the secret; yield its port."""

    def error_page(request: http.server.BaseHTTPRequestHandler) -> str:
        echo = f"{request.path} {request.headers['Authorization']} {CANARY}\n"
        return "x" * 2030 + "=" + CANARY + echo

    return failing_server(error_page, {"X-Token": CANARY})


@pytest.fixture
def canary(app: App) -> App:
    (app.directory / "token").write_text(f"{CANARY}\n")
    (app.directory / "token").chmod(0o600)
    app.push("1", f"Use {CANARY} at last")
    return app


def configure(app: App, channel: str, **keys: object) -> None:
    app.configure(
        {"channels": {"phone": channel}, "status_page": str(app.directory / "page")},
        webhook_secret=WEBHOOK,
        id=1296269,
        secrets={"TOKEN": f"file:{app.directory}/token"},
        notify=["phone"],
        **keys,
    )


def all_output(app: App) -> list[str]:
    """Return the output of every command that shows something, as text and as JSON."""
    number = str(app.cli.count())
    deliveries = [entry["id"] for entry in app.cli.json("delivery", "list")["deliveries"]]
    calls = [
        ("status",),
        ("history",),
        ("show", number),
        ("logs", number),
        ("logs", number, "--failed"),
        ("notices",),
        ("check",),
        ("rollback", "app", "--list"),
        ("deploy", "app", "-n"),
        ("delivery", "list"),
        *(("delivery", verb, str(id_)) for id_ in deliveries for verb in ("show", "explain")),
    ]
    done = [app.cli(*call, *option) for call in calls for option in ((), ("--json",))]
    return [command.stdout + command.stderr for command in done]


def leaks(app: App, outputs: list[str], sent: str) -> dict[str, object]:
    """Return where a secret was found: in the state, the status page, outputs, and notices."""
    return {
        "state": leaking_files(app.state),
        "page": leaking_files(app.directory / "page"),
        "output": [text for text in outputs if leaked(text.encode())],
        "sent": leaked(sent.encode()),
    }


NO_LEAKS: dict[str, list[str]] = {"state": [], "page": [], "output": [], "sent": []}


def test_a_secret_that_a_step_prints_is_hidden_everywhere(canary: App) -> None:
    with bark() as phone:
        configure(canary, phone.url(), stages=[{"name": "leak", "run": f"{LEAKS}; exit 3"}])
        done = canary.cli("deploy", "app")
        outputs = [done.stdout + done.stderr, *all_output(canary)]
        sent = json.dumps(phone.posts)
    assert done.code == 1
    assert done.stdout.count("[hidden]") > 300
    assert len(phone.posts) == 1
    assert leaks(canary, outputs, sent) == NO_LEAKS


def test_no_process_names_a_secret_in_its_command_line(canary: App) -> None:
    """Every account on the machine may read command lines.

    A secret that the operator writes into the command of a step cannot be hidden: not tested.
    """
    watcher = CommandLineWatcher()
    with bark() as phone:
        run = 'printf %s "$TOKEN" | base64; sleep 0.1'
        configure(canary, phone.url(), stages=[{"name": "build", "run": run}], restart="sleep 0.1")
        watcher.start()
        assert canary.cli("deploy", "app").code == 0
        watcher.stopping.set()
        watcher.join()
    assert len(phone.posts) == 1
    assert watcher.rounds > 5
    assert watcher.leaking == []


def test_a_secret_in_the_answer_to_a_health_check_is_hidden_everywhere(canary: App) -> None:
    with bark() as phone, echoing_server() as port:
        url = f"http://127.0.0.1:{port}/?token={quote(CANARY, safe='')}"
        check = {
            "url": url,
            "headers": {"Authorization": f"Bearer {CANARY}"},
            "deadline": 1,
        }
        configure(canary, phone.url(), healthcheck=check, stages=[])
        done = canary.cli("deploy", "app")
        outputs = [done.stdout + done.stderr, *all_output(canary)]
        sent = json.dumps(phone.posts)
    assert done.code == 1
    assert leaks(canary, outputs, sent) == NO_LEAKS


def test_a_secret_in_a_delivery_is_hidden_everywhere(canary: App) -> None:
    with bark() as phone:
        configure(canary, phone.url())
        config = load_webhook_config(str(canary.cli.config))
        encoded = base64.b64encode(f"deploy:{WEBHOOK}".encode()).decode()
        for number, secret in enumerate((WEBHOOK, "wrong")):
            # Of a delivery that is not proved, the webhook can hide only the secrets that it knows.
            leaked_secret = CANARY if secret == WEBHOOK else WEBHOOK
            document = push(
                after=canary.upstream.head,
                pusher={"name": f"octo {WEBHOOK} {leaked_secret}", "email": "o@example.org"},
                head_commit={"message": f"Use {leaked_secret} {quote(WEBHOOK, safe='')} {encoded}"},
            )
            body = json.dumps(document).encode()
            usual = headers(body, number=f"d-{number}", secret=secret)
            extra = dict.fromkeys(("x-gitlab-token", "authorization", "x-other"), WEBHOOK)
            extra["x-more"] = f"it is {leaked_secret}"
            request = Request("POST", "", {**usual, **extra}, io.BytesIO(body))
            receive(request, config, now=time.time(), wake=lambda _: None)
        assert canary.cli("run").code == 0
        wait_until(lambda: canary.status["running"] is None)
        outputs = all_output(canary)
        sent = json.dumps(phone.posts)
    assert canary.live == "1"
    assert len(phone.posts) == 1
    assert leaks(canary, outputs, sent) == NO_LEAKS


def test_no_part_of_a_secret_remains_where_output_was_cut_inside_it(app: App) -> None:
    """The last 4 KiB of the output are kept; the secret stands across their beginning."""
    secret = "correct horse battery staple"
    run = f"printf '%0500d {secret} %04080d\n' 1 2; exit 1"
    app.configure(secrets={"TOKEN": secret}, stages=[{"name": "leak", "run": run}])
    app.push("1")
    tail = app.deploy(code=1)["failure"]["tail"]
    assert [word for word in secret.split() if word in tail] == []
