"""The inbox on the command line, and deliveries sent through nginx and fcgiwrap."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployctl.config.compiled import load_webhook_config
from deployctl.webhook.receive import Answer, receive
from tests.support.app import App
from tests.support.deliveries import SECRET, push, request
from tests.support.nginx import WebServer
from tests.support.workers import wait_until

StartServer = Callable[..., WebServer]
WRONG = (
    "the signature or token (x-hub-signature-256) does not fit webhook_secret of app: the forge "
    "has another secret, or the time stamp is not of now"
)


@pytest.fixture
def hooked(app: App) -> App:
    app.configure(webhook_secret=SECRET, id=1296269)
    app.push("1")
    return app


def deliver(app: App, number: str = "d-1", *, now: float | None = None, **about: Any) -> Answer:
    document = push(after=app.upstream.head, **about.pop("changes", {}))
    config = load_webhook_config(str(app.cli.config))
    made = request(document, number=number, **about)
    return receive(made, config, now=now or time.time(), wake=lambda _: None)


def test_an_empty_inbox_says_so(hooked: App) -> None:
    assert hooked.cli("delivery", "list").stdout == "no deliveries yet\n"
    assert hooked.cli.json("delivery", "list") == {"deliveries": []}
    done = hooked.cli("delivery", "show", "1")
    assert (done.code, done.error) == (2, "no delivery 1; see: deployctl delivery list")
    assert hooked.cli("delivery", "explain", "x").code == 2


def test_the_list_has_the_newest_first(hooked: App) -> None:
    deliver(hooked, event="ping")
    deliver(hooked, now=1.0)
    deliver(hooked, secret="wrong")
    found = hooked.cli.json("delivery", "list")["deliveries"]
    assert [(one["id"], one["result"], one["deployment"]) for one in found] == [
        (3, "refused", None),
        (2, "queued", 1),
        (1, "pong", None),
    ]
    assert found[1] == {
        "id": 2,
        "forge": "github",
        "event": "push",
        "repo": "app",
        "received_at": "1970-01-01T00:00:01.000Z",
        "result": "queued",
        "reason": f"refs/heads/main is at {hooked.upstream.head} now",
        "deployment": 1,
    }
    assert len(hooked.cli.json("delivery", "list", "app", "-n", "1")["deliveries"]) == 1
    lines = hooked.cli("delivery", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]


def test_one_is_shown_whole_and_without_secrets(hooked: App) -> None:
    changes = {"secret": SECRET, "note": f"it is {SECRET}"}
    deliver(hooked, changes=changes)
    found = hooked.cli.json("delivery", "show", "1")
    body = json.loads(found["body"])
    assert (body["secret"], body["note"]) == ("[hidden]", "it is [hidden]")
    assert found["headers"]["x-github-delivery"] == "d-1"
    assert (found["forge_id"], found["replay_of"], found["body_size"] > 100) == ("d-1", None, True)
    shown = hooked.cli("delivery", "show", "1").stdout
    assert "x-github-event: push" in shown
    assert SECRET not in shown


def test_the_story_of_a_wrong_secret(hooked: App) -> None:
    """Wrong secret -> explain says so -> mended -> replay deploys."""
    hooked.configure(webhook_secret="another secret", id=1296269)
    assert deliver(hooked).status == 401
    done = hooked.cli("delivery", "explain", "1")
    assert done.stdout.splitlines() == [
        f"refused (answered 401): {WRONG}",
        "mend that, then: deployctl delivery replay 1",
    ]
    hooked.configure(webhook_secret=SECRET, id=1296269)
    replayed = hooked.cli.json("delivery", "replay", "1")
    assert replayed["deployment"] == 1
    wait_until(lambda: hooked.live == "1")
    hooked.cli("logs", "-f", "1")
    again = hooked.cli.json("delivery", "explain", "2")
    assert again["explanation"].endswith("; deployment #1 succeeded")
    assert hooked.cli.json("delivery", "show", "2")["replay_of"] == 1


def test_a_delivery_for_an_unknown_repository_can_be_run_once_it_is_known(hooked: App) -> None:
    hooked.configure(webhook_secret=SECRET, id=7)
    assert deliver(hooked).status == 401
    refused = hooked.refused("delivery", "replay", "1")
    assert refused.startswith("no repo of repos.yml is meant by delivery 1: set id or full_name")
    hooked.configure(webhook_secret=SECRET, full_name="Octo/hello-world")
    assert hooked.cli.json("delivery", "replay", "1")["result"] == "queued"
    wait_until(lambda: hooked.live == "1")


def test_what_could_not_be_read_cannot_be_run(hooked: App) -> None:
    config = load_webhook_config(str(hooked.cli.config))
    made = request(b'{"a": 1, "a": 2}', path="/app")
    assert receive(made, config, now=1.0, wake=lambda _: None).status == 400
    assert hooked.cli("delivery", "explain", "1").stdout.startswith(
        "malformed: a key occurs twice in one object\n"
    )
    assert "could not be read" in hooked.refused("delivery", "replay", "1")
    assert hooked.cli.json("delivery", "show", "1")["body"] == '{"a": 1, "a": 2}'


def test_what_succeeded_runs_again_and_what_is_ignored_does_not(hooked: App) -> None:
    deliver(hooked)
    hooked.cli("run")
    assert deliver(hooked).result == "duplicate"
    assert hooked.cli.json("delivery", "replay", "1")["deployment"] == 2
    hooked.cli("logs", "-f", "2")
    assert hooked.cli.json("show", "2")["status"] == "succeeded"
    deliver(hooked, "d-2", changes={"ref": "refs/heads/dev"})
    done = hooked.cli("delivery", "replay", "4")
    assert (done.code, "ignored as delivery 5" in done.stdout) == (5, True)


def test_a_fate_is_told_in_one_sentence(hooked: App) -> None:
    hooked.push("")
    deliver(hooked)
    assert (
        "; deployment #1 waits: its turn will come" in hooked.cli("delivery", "explain", "1").stdout
    )
    hooked.cli("run")
    told = hooked.cli("delivery", "explain", "1").stdout
    assert "; deployment #1 failed in test: step 1 failed: exit code 1\n" in told


def test_old_deliveries_are_forgotten_by_the_worker(hooked: App) -> None:
    deliver(hooked, event="ping", now=1.0)
    assert len(hooked.cli.json("delivery", "list")["deliveries"]) == 1
    hooked.cli("run")
    assert hooked.cli.json("delivery", "list")["deliveries"] == []


# ---- through the real URL -------------------------------------------------------------------


@pytest.fixture
def server(hooked: App, web_server: StartServer) -> WebServer:
    return web_server(hooked.cli.config)


def url(server: WebServer, path: str = "/deploy.cgi") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def test_a_delivery_is_made_sent_and_deployed(hooked: App, server: WebServer) -> None:
    done = hooked.cli("delivery", "send", "app", "--url", url(server))
    first, second = done.stdout.splitlines()
    assert (done.code, first) == (0, f"POST {url(server)}")
    assert second.startswith('202 {"result": "queued"')
    wait_until(lambda: hooked.live == "1")


def test_an_order_is_made_and_carried_out(hooked: App, server: WebServer) -> None:
    hooked.configure({"webhook_url": url(server)}, webhook_secret=SECRET, id=1296269)
    hooked.deploy()
    hooked.release("2")
    sent = hooked.cli.json("delivery", "send", "app", "--action", "rollback")
    assert (sent["status"], sent["answer"]["result"]) == (202, "queued")
    wait_until(lambda: hooked.live == "1")
    wait_until(lambda: hooked.status["running"] is None)
    assert hooked.status["hold"]["revision"] == hooked.upstream.head


def test_without_an_id_the_url_names_the_repo(hooked: App, server: WebServer) -> None:
    hooked.configure({"webhook_url": url(server)}, webhook_secret=SECRET)
    sent = hooked.cli.json("delivery", "send", "app")
    assert (sent["url"], sent["status"]) == (url(server, "/deploy.cgi/app"), 202)
    wait_until(lambda: hooked.live == "1")


def test_what_the_real_url_refuses_is_an_error(hooked: App, server: WebServer) -> None:
    other = hooked.directory / "other.yml"
    other.write_text(hooked.cli.config.read_text().replace(SECRET, "another secret"))
    other.chmod(0o600)
    hooked.cli.config = other
    done = hooked.cli("delivery", "send", "app", "--url", url(server))
    assert (done.code, "401" in done.stdout) == (1, True)
    assert done.error == "see there what was decided, and why: deployctl delivery list"


def test_a_url_that_leads_elsewhere_is_told(hooked: App, server: WebServer) -> None:
    done = hooked.cli("delivery", "send", "app", "--url", url(server, "/alive"))
    assert done.code == 1
    assert done.error == "that answer is not from deployctl: does the URL lead to deploy.cgi?"
    done = hooked.cli("delivery", "send", "app", "--url", "http://127.0.0.1:1/")
    assert (done.code, "cannot reach http://127.0.0.1:1/" in done.error) == (1, True)


@pytest.mark.parametrize(
    ("keys", "words", "said"),
    [
        ({}, (), "where to? say --url https://…/deploy.cgi, or set webhook_url in"),
        ({}, ("--url", "http://127.0.0.1:1", "--to", "1"), "--to goes with --action"),
        ({"webhook_secret": None}, ("--url", "http://127.0.0.1:1"), "app has no webhook_secret"),
        (
            {"forge": "sourcehut"},
            ("--url", "http://127.0.0.1:1"),
            "only sourcehut itself can sign a delivery",
        ),
    ],
)
def test_what_cannot_be_sent_is_wrong_usage(
    hooked: App, keys: dict[str, Any], words: tuple[str, ...], said: str
) -> None:
    hooked.configure(**{"webhook_secret": SECRET, "id": 1296269, **keys})
    done = hooked.cli("delivery", "send", "app", *words)
    assert (done.code, done.error.startswith(said)) == (2, True), done


def test_nothing_secret_is_kept_anywhere(hooked: App, server: WebServer, tmp_path: Path) -> None:
    hooked.cli("delivery", "send", "app", "--url", url(server))
    wait_until(lambda: hooked.live == "1" and not hooked.status["running"])
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    found = [path.name for path in kept if path.exists() and SECRET.encode() in path.read_bytes()]
    assert found in ([], ["config.json"])
