"""What deployctl keeps is private, and what it deploys can be served, whatever the umask."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.support.app import App
from tests.support.bark import bark
from tests.support.cli import finish
from tests.support.deliveries import SECRET, push
from tests.support.front import deliver
from tests.support.workers import wait_until


def modes(place: Path) -> dict[str, int]:
    """Every file and directory from there on down; a link has no mode of its own."""
    found = [place, *place.rglob("*")]
    return {
        str(path.relative_to(place.parent)): stat.S_IMODE(path.stat().st_mode)
        for path in found
        if not path.is_symlink()
    }


@pytest.mark.parametrize("umask", [0, 0o777])
def test_the_state_is_private_and_a_release_readable_whatever_the_umask(
    app: App, umask: int
) -> None:
    with bark() as phone:
        app.configure(
            top={"channels": {"phone": phone.url()}},
            id=1296269,
            webhook_secret=SECRET,
            notify=["phone"],
            shared_dirs=["media"],
        )
        app.push("1")
        body = json.dumps(push(after=app.upstream.head)).encode()
        for number in (1, 2):  # the first one finds no state directory, and so leaves no copy
            answered = deliver(app.cli, body, umask=umask, number=f"d-{number}")
            assert answered.status == 202, answered
            app.cli.wait_for(answered.document["deployment"])
        assert app.live == "1"
        app.push("2")
        assert finish(app.cli.start("deploy", "app", umask=umask)).code == 0
        assert finish(app.cli.start("rollback", "app", umask=umask)).code == 0
        deliver(app.cli, b"{", umask=umask)
        wait_until(lambda: len(phone.posts) >= 3)
        assert finish(app.cli.start("run", umask=umask)).code == 0
    private = modes(app.state)
    assert {"state/deployctl.db", "state/config.json", "state/logs/1.log"} <= set(private)
    assert any(name.endswith(".pack") for name in private)
    assert {name: mode for name, mode in private.items() if mode & 0o077} == {}
    assert all(mode & 0o400 for mode in private.values())
    served = modes(app.path)
    assert {name: mode for name, mode in served.items() if mode & 0o022} == {}
    assert all(mode & 0o044 for mode in served.values()), served
