"""``deployctl delivery``: stored deliveries, and deliveries sent through nginx and fcgiwrap."""

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
WRONG_SECRET = (
    "the signature or token (x-hub-signature-256) does not fit webhook_secret of app: the forge "
    "has another secret, or the time stamp is not of now"
)


@pytest.fixture
def webhook_app(app: App) -> App:
    """An app with a webhook secret and one commit that is not deployed yet."""
    app.configure(webhook_secret=SECRET, id=1296269)
    app.push("1")
    return app


def deliver(app: App, number: str = "d-1", *, now: float | None = None, **options: Any) -> Answer:
    """Receive a push of the newest commit in this process; no worker is started."""
    document = push(after=app.upstream.head, **options.pop("changes", {}))
    config = load_webhook_config(str(app.cli.config))
    received = request(document, number=number, **options)
    return receive(received, config, now=now or time.time(), wake=lambda _: None)


def test_without_deliveries_the_list_says_so(webhook_app: App) -> None:
    assert webhook_app.cli("delivery", "list").stdout == "no deliveries yet\n"
    assert webhook_app.cli.json("delivery", "list") == {"deliveries": []}
    done = webhook_app.cli("delivery", "show", "1")
    assert (done.code, done.error) == (2, "no delivery 1; see: deployctl delivery list")
    assert webhook_app.cli("delivery", "explain", "x").code == 2


def test_the_list_has_the_newest_first(webhook_app: App) -> None:
    deliver(webhook_app, event="ping")
    deliver(webhook_app, now=1.0)
    deliver(webhook_app, secret="wrong")
    found = webhook_app.cli.json("delivery", "list")["deliveries"]
    assert [(record["id"], record["result"], record["deployment"]) for record in found] == [
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
        "reason": f"refs/heads/main is at {webhook_app.upstream.head} now",
        "deployment": 1,
    }
    assert len(webhook_app.cli.json("delivery", "list", "app", "-n", "1")["deliveries"]) == 1
    lines = webhook_app.cli("delivery", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]


def test_show_prints_the_whole_delivery_without_secrets(webhook_app: App) -> None:
    changes = {"secret": SECRET, "note": f"it is {SECRET}"}
    deliver(webhook_app, changes=changes)
    found = webhook_app.cli.json("delivery", "show", "1")
    body = json.loads(found["body"])
    assert (body["secret"], body["note"]) == ("[hidden]", "it is [hidden]")
    assert found["headers"]["x-github-delivery"] == "d-1"
    assert (found["forge_id"], found["replay_of"], found["body_size"] > 100) == ("d-1", None, True)
    shown = webhook_app.cli("delivery", "show", "1").stdout
    assert "x-github-event: push" in shown
    assert SECRET not in shown


def test_a_delivery_with_a_wrong_secret_is_explained_and_once_corrected_replayed(
    webhook_app: App,
) -> None:
    webhook_app.configure(webhook_secret="another secret", id=1296269)
    assert deliver(webhook_app).status == 401
    done = webhook_app.cli("delivery", "explain", "1")
    assert done.stdout.splitlines() == [
        f"refused (answered 401): {WRONG_SECRET}",
        "mend that, then: deployctl delivery replay 1",
    ]
    webhook_app.configure(webhook_secret=SECRET, id=1296269)
    replayed = webhook_app.cli.json("delivery", "replay", "1")
    assert replayed["deployment"] == 1
    wait_until(lambda: webhook_app.live == "1")
    webhook_app.cli("logs", "-f", "1")
    again = webhook_app.cli.json("delivery", "explain", "2")
    assert again["explanation"].endswith("; deployment #1 succeeded")
    assert webhook_app.cli.json("delivery", "show", "2")["replay_of"] == 1


def test_a_delivery_for_an_unknown_repository_can_be_replayed_once_it_is_configured(
    webhook_app: App,
) -> None:
    webhook_app.configure(webhook_secret=SECRET, id=7)
    assert deliver(webhook_app).status == 401
    message = webhook_app.refused("delivery", "replay", "1")
    assert message.startswith("no repo of repos.yml matches delivery 1: set id or full_name")
    webhook_app.configure(webhook_secret=SECRET, full_name="Octo/hello-world")
    assert webhook_app.cli.json("delivery", "replay", "1")["result"] == "queued"
    wait_until(lambda: webhook_app.live == "1")


def test_a_malformed_delivery_cannot_be_replayed(webhook_app: App) -> None:
    config = load_webhook_config(str(webhook_app.cli.config))
    malformed = request(b'{"a": 1, "a": 2}', path="/app")
    assert receive(malformed, config, now=1.0, wake=lambda _: None).status == 400
    assert webhook_app.cli("delivery", "explain", "1").stdout.startswith(
        "malformed: a key occurs twice in one object\n"
    )
    assert "could not be read" in webhook_app.refused("delivery", "replay", "1")
    assert webhook_app.cli.json("delivery", "show", "1")["body"] == '{"a": 1, "a": 2}'


def test_a_replay_deploys_again_after_a_success_and_not_if_the_push_is_ignored(
    webhook_app: App,
) -> None:
    deliver(webhook_app)
    webhook_app.cli("run")
    assert deliver(webhook_app).result == "duplicate"
    assert webhook_app.cli.json("delivery", "replay", "1")["deployment"] == 2
    webhook_app.cli("logs", "-f", "2")
    assert webhook_app.cli.json("show", "2")["status"] == "succeeded"
    deliver(webhook_app, "d-2", changes={"ref": "refs/heads/dev"})
    done = webhook_app.cli("delivery", "replay", "4")
    assert (done.code, "ignored as delivery 5" in done.stdout) == (5, True)


def test_explain_says_in_one_sentence_what_the_deployment_did(webhook_app: App) -> None:
    webhook_app.push("")
    deliver(webhook_app)
    assert (
        "; deployment #1 waits: a worker will run it"
        in webhook_app.cli("delivery", "explain", "1").stdout
    )
    webhook_app.cli("run")
    shown = webhook_app.cli("delivery", "explain", "1").stdout
    assert "; deployment #1 failed in test: step 1 failed: exit code 1\n" in shown


def test_the_worker_removes_old_deliveries(webhook_app: App) -> None:
    deliver(webhook_app, event="ping", now=1.0)
    assert len(webhook_app.cli.json("delivery", "list")["deliveries"]) == 1
    webhook_app.cli("run")
    assert webhook_app.cli.json("delivery", "list")["deliveries"] == []


# ---- through the real URL -------------------------------------------------------------------


@pytest.fixture
def server(webhook_app: App, web_server: StartServer) -> WebServer:
    return web_server(webhook_app.cli.config)


def url(server: WebServer, path: str = "/deploy.cgi") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def test_send_makes_a_delivery_that_is_deployed(webhook_app: App, server: WebServer) -> None:
    done = webhook_app.cli("delivery", "send", "app", "--url", url(server))
    first, second = done.stdout.splitlines()
    assert (done.code, first) == (0, f"POST {url(server)}")
    assert second.startswith('202 {"result": "queued"')
    wait_until(lambda: webhook_app.live == "1")


def test_send_makes_an_order_that_is_carried_out(webhook_app: App, server: WebServer) -> None:
    webhook_app.configure({"webhook_url": url(server)}, webhook_secret=SECRET, id=1296269)
    webhook_app.deploy()
    webhook_app.release("2")
    sent = webhook_app.cli.json("delivery", "send", "app", "--action", "rollback")
    assert (sent["status"], sent["answer"]["result"]) == (202, "queued")
    wait_until(lambda: webhook_app.live == "1")
    wait_until(lambda: webhook_app.status["running"] is None)
    assert webhook_app.status["hold"]["revision"] == webhook_app.upstream.head


def test_without_an_id_the_url_names_the_repo(webhook_app: App, server: WebServer) -> None:
    webhook_app.configure({"webhook_url": url(server)}, webhook_secret=SECRET)
    sent = webhook_app.cli.json("delivery", "send", "app")
    assert (sent["url"], sent["status"]) == (url(server, "/deploy.cgi/app"), 202)
    wait_until(lambda: webhook_app.live == "1")


def test_send_fails_if_the_real_url_refuses_the_delivery(
    webhook_app: App, server: WebServer
) -> None:
    other = webhook_app.directory / "other.yml"
    other.write_text(webhook_app.cli.config.read_text().replace(SECRET, "another secret"))
    other.chmod(0o600)
    webhook_app.cli.config = other
    done = webhook_app.cli("delivery", "send", "app", "--url", url(server))
    assert (done.code, "401" in done.stdout) == (1, True)
    assert done.error == "see there what was decided, and why: deployctl delivery list"


def test_send_fails_if_the_url_does_not_lead_to_deploy_cgi(
    webhook_app: App, server: WebServer
) -> None:
    done = webhook_app.cli("delivery", "send", "app", "--url", url(server, "/alive"))
    assert done.code == 1
    assert done.error == "that answer is not from deployctl: does the URL lead to deploy.cgi?"
    done = webhook_app.cli("delivery", "send", "app", "--url", "http://127.0.0.1:1/")
    assert (done.code, "cannot reach http://127.0.0.1:1/" in done.error) == (1, True)


@pytest.mark.parametrize(
    ("keys", "words", "message"),
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
def test_a_delivery_that_cannot_be_sent_is_wrong_usage(
    webhook_app: App, keys: dict[str, Any], words: tuple[str, ...], message: str
) -> None:
    webhook_app.configure(**{"webhook_secret": SECRET, "id": 1296269, **keys})
    done = webhook_app.cli("delivery", "send", "app", *words)
    assert (done.code, done.error.startswith(message)) == (2, True), done


def test_no_file_of_the_state_but_the_compiled_config_has_the_secret(
    webhook_app: App, server: WebServer, tmp_path: Path
) -> None:
    webhook_app.cli("delivery", "send", "app", "--url", url(server))
    wait_until(lambda: webhook_app.live == "1" and not webhook_app.status["running"])
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    found = [path.name for path in files if path.exists() and SECRET.encode() in path.read_bytes()]
    assert found in ([], ["config.json"])
