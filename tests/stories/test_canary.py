"""One secret, let out by everything that can let it out, and looked for everywhere afterwards."""

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
from tests.support.unwell import unwell
from tests.support.workers import wait_until

# Nobody else's, however many tests run at once.
CANARY = f"{os.getpid()}K4n4/ri+vogel~%sing{os.getpid()}"
WEBHOOK = f"{os.getpid()}W3bh00k&Can/ary+wert{os.getpid()}"

QUOTED = quote(CANARY, safe="")
# What a build may do with it; all of it is among its last lines. 300 lines go before.
LEAKS = f"""
i=0; while [ $i -lt 300 ]; do echo "line $i $TOKEN"; i=$((i + 1)); done
printf %s "$TOKEN" | base64
printf %s "deploy:$TOKEN" | base64
echo 'https://deploy:{QUOTED}@example.org/ token={quote_plus(CANARY)}'
git ls-remote 'https://deploy:{QUOTED}@127.0.0.1:1/x' || git ls-remote '/nowhere/{CANARY}' || true
printf %s "$TOKEN" | cut -c1-12 | tr -d "\\n"; sleep 0.3; printf %s "$TOKEN" | cut -c13-
printf '{{"token": "%s"}}\\n' "$TOKEN"
"""


class Witness(threading.Thread):
    """Looks at what every process says of itself to everybody, all the time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.seen: list[bytes] = []
        self.looks = 0

    def run(self) -> None:
        while not self.over.is_set():
            self.looks += 1
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if leaked(line):
                        self.seen.append(line)
            time.sleep(0.01)


def forms(secret: str) -> list[bytes]:
    """As it is, quoted, as JSON has it, and in base64 whatever stands before it."""
    raw = secret.encode()
    shifted = [base64.b64encode(b"x" * n + raw)[4 : (n + len(raw)) * 8 // 6] for n in range(3)]
    quoted = [quote(secret), quote(secret, safe=""), quote_plus(secret)]
    words = [secret, *quoted, secret.replace("/", "\\/"), json.dumps(secret)[1:-1]]
    return [*(word.encode() for word in words), *shifted]


def leaked(data: bytes) -> list[bytes]:
    """The forms, and the halves of the plain secret, that the data holds."""
    halves = [part.encode() for word in (CANARY, WEBHOOK) for part in (word[:10], word[-10:])]
    wanted = [*forms(CANARY), *forms(WEBHOOK), *halves]
    return [form for form in dict.fromkeys(wanted) if form in data]


def leaking_files(directory: Path) -> list[tuple[str, list[bytes]]]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    found = [(path.name, leaked(path.read_bytes())) for path in files]
    # The webhook needs its own secret to verify what comes; nobody else may read that file.
    allowed = {"config.json": set(forms(WEBHOOK)) | {WEBHOOK[:10].encode(), WEBHOOK[-10:].encode()}}
    return [(name, what) for name, what in found if set(what) - allowed.get(name, set())]


def parrot() -> contextlib.AbstractContextManager[int]:
    """A server that repeats what it was asked with and more -> its port."""

    def say(asked: http.server.BaseHTTPRequestHandler) -> str:
        said = f"{asked.path} {asked.headers['Authorization']} {CANARY}\n"
        return "x" * 2030 + "=" + CANARY + said

    return unwell(say, {"X-Token": CANARY})


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


def everything_said(app: App) -> list[str]:
    """What every command that tells something says of it, to people and as JSON."""
    number = str(app.cli.count())
    deliveries = [each["id"] for each in app.cli.json("delivery", "list")["deliveries"]]
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
        *(("delivery", what, str(each)) for each in deliveries for what in ("show", "explain")),
    ]
    done = [app.cli(*call, *more) for call in calls for more in ((), ("--json",))]
    return [each.stdout + each.stderr for each in done]


def found_anywhere(app: App, said: list[str], sent: str) -> dict[str, object]:
    return {
        "state": leaking_files(app.state),
        "page": leaking_files(app.directory / "page"),
        "said": [text for text in said if leaked(text.encode())],
        "sent": leaked(sent.encode()),
    }


NOWHERE: dict[str, list[str]] = {"state": [], "page": [], "said": [], "sent": []}


def test_what_a_step_lets_out_is_nowhere(canary: App) -> None:
    with bark() as phone:
        configure(canary, phone.url(), stages=[{"name": "leak", "run": f"{LEAKS}; exit 3"}])
        done = canary.cli("deploy", "app")
        said = [done.stdout + done.stderr, *everything_said(canary)]
        sent = json.dumps(phone.posts)
    assert done.code == 1
    assert done.stdout.count("[hidden]") > 300
    assert len(phone.posts) == 1
    assert found_anywhere(canary, said, sent) == NOWHERE


def test_no_process_names_a_secret_in_its_command_line(canary: App) -> None:
    """Everybody on the machine may read those; what a step has in its command itself is its own."""
    witness = Witness()
    with bark() as phone:
        run = 'printf %s "$TOKEN" | base64; sleep 0.1'
        configure(canary, phone.url(), stages=[{"name": "build", "run": run}], restart="sleep 0.1")
        witness.start()
        assert canary.cli("deploy", "app").code == 0
        witness.over.set()
        witness.join()
    assert len(phone.posts) == 1
    assert witness.looks > 5
    assert witness.seen == []


def test_what_a_health_check_brings_back_is_nowhere(canary: App) -> None:
    with bark() as phone, parrot() as port:
        url = f"http://127.0.0.1:{port}/?token={quote(CANARY, safe='')}"
        check = {
            "url": url,
            "headers": {"Authorization": f"Bearer {CANARY}"},
            "deadline": 0.1,
            "interval": 0.1,
        }
        configure(canary, phone.url(), healthcheck=check, stages=[])
        done = canary.cli("deploy", "app")
        said = [done.stdout + done.stderr, *everything_said(canary)]
        sent = json.dumps(phone.posts)
    assert done.code == 1
    assert found_anywhere(canary, said, sent) == NOWHERE


def test_what_a_delivery_holds_is_nowhere(canary: App) -> None:
    with bark() as phone:
        configure(canary, phone.url())
        config = load_webhook_config(str(canary.cli.config))
        encoded = base64.b64encode(f"deploy:{WEBHOOK}".encode()).decode()
        for number, secret in enumerate((WEBHOOK, "wrong")):
            # Of what a stranger sends, the webhook can but hide what it knows.
            told = CANARY if secret == WEBHOOK else WEBHOOK
            document = push(
                after=canary.upstream.head,
                pusher={"name": f"octo {WEBHOOK} {told}", "email": "o@example.org"},
                head_commit={"message": f"Use {told} {quote(WEBHOOK, safe='')} {encoded}"},
            )
            body = json.dumps(document).encode()
            about = headers(body, number=f"d-{number}", secret=secret)
            extra = dict.fromkeys(("x-gitlab-token", "authorization", "x-other"), WEBHOOK)
            extra["x-more"] = f"it is {told}"
            made = Request("POST", "", {**about, **extra}, io.BytesIO(body))
            receive(made, config, now=time.time(), wake=lambda _: None)
        assert canary.cli("run").code == 0
        wait_until(lambda: canary.status["running"] is None)
        said = everything_said(canary)
        sent = json.dumps(phone.posts)
    assert canary.live == "1"
    assert len(phone.posts) == 1
    assert found_anywhere(canary, said, sent) == NOWHERE


def test_half_of_a_secret_of_several_words_does_not_remain_at_a_cut(app: App) -> None:
    """What is kept of the output begins in the middle of it: 4 KiB before the end."""
    secret = "correct horse battery staple"
    run = f"printf '%0500d {secret} %04080d\n' 1 2; exit 1"
    app.configure(secrets={"TOKEN": secret}, stages=[{"name": "leak", "run": run}])
    app.push("1")
    tail = app.deploy(code=1)["failure"]["tail"]
    assert [word for word in secret.split() if word in tail] == []
