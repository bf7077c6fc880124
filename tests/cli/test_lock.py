"""``deployctl lock`` and ``unlock``: commands are refused, and queued deployments wait."""

from __future__ import annotations

from tests.support.app import App
from tests.support.queue import deployed_by, enqueue


def test_while_a_repo_is_locked_commands_are_refused_and_queued_deployments_wait(app: App) -> None:
    app.release("1")
    app.push("2")
    done = app.cli("lock", "app", "-m", "Friday evening")
    assert (done.code, done.stdout) == (
        0,
        "app is locked; lift it with: deployctl unlock app\n",
    )
    actor = app.status["lock"]["actor"]
    message = f"app is locked by {actor}: Friday evening; lift it with: deployctl unlock app"
    assert app.refused("deploy", "app") == message
    assert app.refused("deploy", "app", "--detach") == message
    assert app.refused("deploy", "app", "--dry-run") == message
    assert app.refused("lock", "app", "-m", "again") == message
    assert app.cli.count() == 1
    number = enqueue(app)
    assert deployed_by(app, "run") == []
    assert app.status["queued"][0]["number"] == number

    done = app.cli("unlock", "app")
    assert (done.code, done.stdout) == (
        0,
        "app is unlocked; #2 starts now: deployctl logs -f 2\n",
    )
    assert app.cli.wait_for(number)["status"] == "succeeded"
    assert app.live == "2"
    assert app.cli("unlock", "app").stdout == "app was not locked\n"
    assert app.cli.json("unlock", "app") == {"repo": "app", "locked": False}


def test_a_lock_needs_a_reason(app: App) -> None:
    done = app.cli("lock", "app")
    assert done.code == 2
    assert "-m" in done.error
    assert app.status["lock"] is None
