"""``deployctl notices`` and ``notify``: the history of notices, also live, and a test notice."""

from __future__ import annotations

import json
import select
from typing import Any

from tests.support.app import App
from tests.support.bark import Bark, bark
from tests.support.cli import finish, let_time_pass


def configure_notices(app: App, phone: Bark, **channels: Any) -> None:
    app.configure(top={"channels": {"phone": phone.url(), **channels}}, notify=["phone"])


def test_notices_are_listed_with_their_state_per_channel(app: App, phone: Bark) -> None:
    configure_notices(app, phone)
    assert app.cli("notices").stdout == "no notices yet\n"
    app.push("1")
    app.deploy()
    title = f"app: deployed {app.upstream.head[:7]}"
    assert phone.titles == [title]
    done = app.cli("notices")
    assert done.stdout.endswith(f"  {title}  [phone: sent]\n")
    (notice,) = app.cli.json("notices")["notices"]
    assert set(notice) >= {
        "id",
        "deployment",
        "repo",
        "event",
        "title",
        "body",
        "created_at",
        "channels",
    }
    assert (notice["deployment"], notice["event"]) == (1, "succeeded")
    (channel,) = notice["channels"]
    assert set(channel) == {"name", "state", "attempts", "last_error", "sent_at"}
    assert (channel["name"], channel["state"]) == ("phone", "sent")


def test_a_notice_that_cannot_be_sent_does_not_change_the_outcome(app: App) -> None:
    with bark("error", "well") as broken:
        configure_notices(app, broken)
        app.push("1")
        document = app.deploy()
        assert document["status"] == "succeeded"
        (notice,) = app.cli.json("notices")["notices"]
        assert notice["channels"][0]["state"] != "sent"
        assert notice["channels"][0]["attempts"] == 1
        assert app.cli("run").code == 0
        assert len(broken.posts) == 1, "not due yet"


def test_notices_can_be_followed_line_by_line(app: App, phone: Bark) -> None:
    configure_notices(app, phone)
    app.release("1")
    process = app.cli.start("notices", "-f", "--json")
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["deployment"] == 1
        app.release("2")
        assert json.loads(process.stdout.readline())["deployment"] == 2
    finally:
        process.terminate()
        finish(process)


def test_notices_can_be_followed_before_the_record_exists(app: App, phone: Bark) -> None:
    configure_notices(app, phone)
    process = app.cli.start("notices", "-f", "--json")
    try:
        let_time_pass(1.5)
        assert not app.state.exists()
        app.release("1")
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 10)[0], (
            "the notice was not shown within 10 s"
        )
        assert json.loads(process.stdout.readline())["deployment"] == 1
    finally:
        process.terminate()
        finish(process)


def test_a_test_notice_goes_to_one_channel(app: App, phone: Bark) -> None:
    configure_notices(app, phone)
    done = app.cli("notify", "phone", "-m", "Hello")
    assert (done.code, done.stdout) == (0, "sent to phone\n")
    assert phone.posts[0][1]["body"] == "Hello"
    done = app.cli("notify", "phon")
    assert done.code == 2
    assert done.error == (
        f"no channel phon in {app.cli.config}, did you mean phone? (there are: phone)"
    )
    with bark("error") as broken:
        configure_notices(app, broken)
        done = app.cli("notify", "phone")
    assert done.code == 1
    assert done.error.startswith("the notice did not reach phone: ")


def test_listing_notices_writes_no_file(app: App) -> None:
    assert app.cli.json("notices") == {"notices": []}
    assert not app.state.exists()
