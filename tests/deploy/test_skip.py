"""Tests of automatic deployments that have nothing to do: not watched, or asked to be skipped."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from deployctl.config.compiled import load_webhook_config
from deployctl.git.patterns import any_watched
from deployctl.webhook.receive import Answer, receive
from tests.support.app import App
from tests.support.deliveries import SECRET, push, request


def deliver(app: App, number: str, message: str = "Version") -> Answer:
    """Deliver the webhook of the last push, and return its answer."""
    document = push(after=app.upstream.head, head_commit={"message": message})
    config = load_webhook_config(str(app.cli.config))
    delivery = request(document, path="/app", number=number)
    return receive(delivery, config, now=time.time(), wake=lambda _: None)


def newest(app: App) -> dict[str, Any]:
    found: dict[str, Any] = app.cli.json("history")["deployments"][0]
    return found


@pytest.fixture
def watching(app: App) -> App:
    """The usual repo at version 1; docs/ and Markdown files are not watched."""
    app.configure(webhook_secret=SECRET, watch=["*", "!docs/**", "!*.md"])
    app.release("1")
    return app


def test_a_push_that_changes_nothing_of_the_deployed_directory_is_ignored(app: App) -> None:
    app.configure(webhook_secret=SECRET, dir="web", stages=None, healthcheck=None)
    live = app.upstream.commit({"web/page": "1\n", "api/page": "1\n"})
    app.deploy()
    app.upstream.commit({"api/page": "2\n", "website": "2\n"})
    assert deliver(app, "d-1").result == "queued"
    app.cli("run")
    assert newest(app)["reason"] == (
        f"since {live[:12]}, which is live, only api/page, website changed; dir leaves that out"
    )
    second = app.upstream.commit({"web/page": "2\n"})
    deliver(app, "d-2")
    app.cli("run")
    assert app.status["live"]["revision"] == second
    assert (app.path / "current" / "page").read_text() == "2\n"
    assert (app.path / "current" / "REVISION").read_text() == f"{second}\n"


def test_with_watch_a_change_outside_dir_is_deployed_if_it_is_watched(app: App) -> None:
    watch = ["web/**", "shared/**"]
    app.configure(webhook_secret=SECRET, dir="web", watch=watch, stages=None, healthcheck=None)
    app.upstream.commit({"web/page": "1\n"})
    app.deploy()
    revision = app.upstream.commit({"shared/lib": "2\n"})
    deliver(app, "d-1")
    app.cli("run")
    assert app.status["live"]["revision"] == revision


def test_a_push_that_changes_nothing_watched_is_ignored_and_explained(watching: App) -> None:
    live = watching.upstream.head
    watching.upstream.commit({"docs/a": "x", "docs/deep/b": "x", "README.md": "x", "c.md": "x"})
    assert deliver(watching, "d-1").result == "queued"
    watching.cli("run")
    ended = newest(watching)
    reason = (
        f"since {live[:12]}, which is live, only README.md, c.md, docs/a and 1 more changed; "
        "watch leaves that out"
    )
    assert (ended["status"], ended["reason"], ended["stages"][-1]["name"]) == (
        "succeeded",
        reason,
        "fetch",
    )
    assert watching.status["live"]["revision"] == live
    (delivery,) = watching.cli.json("delivery", "list")["deliveries"]
    assert (delivery["result"], delivery["reason"]) == ("ignored", reason)
    assert watching.cli("delivery", "explain", "1").stdout.startswith(f"ignored: {reason}")
    assert reason.split(",", maxsplit=1)[0] in watching.cli("history").stdout
    assert watching.cli("notices").stdout == "no notices yet\n"


def test_the_reason_escapes_file_names_of_any_bytes(watching: App) -> None:
    work = watching.upstream.work
    (work / "docs").mkdir()
    for name in (b"docs/\xff\xfe", b"docs/a\n\x1b[31m"):
        with open(os.path.join(os.fsencode(work), name), "w"):
            pass
    watching.upstream.commit()
    deliver(watching, "d-1")
    assert watching.cli("run").code == 0
    ended = newest(watching)
    assert ended["status"] == "succeeded"
    assert "only docs/a\\n\\x1b[31m, docs/\\xff\\xfe changed" in ended["reason"]


def test_the_difference_to_the_live_revision_decides_and_not_the_last_push(
    watching: App,
) -> None:
    watching.push("2")
    watching.upstream.commit({"docs/a": "x"})
    deliver(watching, "d-1")
    watching.cli("run")
    assert watching.live == "2"


def test_after_a_force_push_the_difference_to_the_live_revision_decides(watching: App) -> None:
    first = watching.upstream.head
    watching.release("2")
    watching.upstream.rewind(first)
    watching.upstream.commit({"docs/a": "x"})
    deliver(watching, "d-1")
    watching.cli("run")
    assert watching.live == "1"


def test_sync_does_not_deploy_an_ignored_revision_but_the_next_one(watching: App) -> None:
    watching.upstream.commit({"docs/a": "x"})
    (ignored,) = watching.cli.json("sync")["deployments"]
    assert ignored["status"] == "succeeded"
    assert watching.cli.json("sync")["deployments"] == []
    watching.push("2")
    assert [found["status"] for found in watching.cli.json("sync")["deployments"]] == ["succeeded"]
    assert watching.live == "2"


def test_a_person_can_deploy_an_unwatched_change_and_replay_an_ignored_delivery(
    watching: App,
) -> None:
    watching.upstream.commit({"docs/a": "x"})
    deliver(watching, "d-1")
    watching.cli("run")
    replayed = watching.cli.json("delivery", "replay", "1")
    assert (replayed["result"], replayed["delivery"]) == ("queued", 2)
    watching.cli("logs", "-f", str(replayed["deployment"]))
    assert watching.status["live"]["revision"] == watching.upstream.head
    watching.upstream.commit({"docs/a": "y"})
    assert watching.deploy()["revision"] == watching.upstream.head
    assert watching.status["live"]["revision"] == watching.upstream.head


def test_a_commit_can_ask_not_to_be_deployed(app: App) -> None:
    app.configure(webhook_secret=SECRET)
    app.release("1")
    app.push("2", "Try it [Skip Deploy] later\n\nbody")
    answer = deliver(app, "d-1", "Try it [Skip Deploy] later\n\nbody")
    assert (answer.status, answer.result) == (200, "ignored")
    assert answer.reason == "the commit says [skip deploy]: Try it [Skip Deploy] later"
    assert app.cli.json("history")["deployments"][0]["number"] == 1
    (ignored,) = app.cli.json("sync")["deployments"]
    assert (ignored["reason"], app.live) == (answer.reason, "1")
    assert app.cli.json("sync")["deployments"] == []
    assert app.deploy()["status"] == "succeeded"
    assert app.live == "2"


def test_the_skip_marker_in_the_body_of_a_message_has_no_effect(app: App) -> None:
    app.configure(webhook_secret=SECRET)
    message = "Explain it\n\nWrite [skip deploy] into the first line."
    app.push("1", message)
    assert deliver(app, "d-1", message).result == "queued"


@pytest.mark.parametrize(
    ("patterns", "watched"),
    [
        (["src/"], ["src/a.py", "lib/src/a.py"]),
        (["/src"], ["src/a.py"]),
        (["*.py", "!test_*"], ["src/a.py", "lib/src/a.py"]),
        (["!docs/**", "!*.md"], ["src/a.py", "lib/src/a.py", "test_a.py"]),
    ],
)
def test_watch_patterns_work_like_those_of_gitignore(
    patterns: list[str], watched: list[str]
) -> None:
    paths = ["docs/a.txt", "docs/x/y.txt", "README.md", "src/a.py", "lib/src/a.py", "test_a.py"]
    assert [path for path in paths if any_watched(patterns, [path])] == watched


@pytest.mark.parametrize("pattern", ["", "#src", "a\nb"])
def test_a_watch_entry_that_is_no_pattern_is_a_configuration_error(app: App, pattern: str) -> None:
    app.configure(watch=["src/", pattern])
    done = app.cli("status")
    assert done.code == 2
    assert "repos.app.watch[1]: " in done.stderr


def test_the_reason_says_if_the_delivery_names_an_unreachable_revision(app: App) -> None:
    app.configure(webhook_secret=SECRET)
    app.push("1")
    older = app.upstream.head
    app.push("2")
    config = load_webhook_config(str(app.cli.config))
    for number, named in (("d-1", older), ("d-2", "b" * 40)):
        delivery = request(push(after=named), path="/app", number=number)
        receive(delivery, config, now=time.time(), wake=lambda _: None)
        app.cli("run")
        assert app.live == "2"
        app.push("2", "again")
    forged, genuine = app.cli.json("history")["deployments"]
    assert (genuine["status"], genuine["reason"]) == ("succeeded", None)
    assert forged["status"] == "succeeded"
    assert forged["reason"] == (
        f"the delivery names {'b' * 40}, which is not reachable from refs/heads/main: "
        "its tip was taken"
    )


def test_sync_does_not_deploy_a_revision_that_a_person_cancelled_before_its_fetch(app: App) -> None:
    app.configure(webhook_secret=SECRET)
    app.release("1")
    app.push("2")
    number = deliver(app, "d-1").deployment
    app.cli("cancel", str(number))
    assert (app.cli.json("sync")["deployments"], app.live) == ([], "1")
