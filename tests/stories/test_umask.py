"""The state is private and releases can be read by other accounts, whatever the umask is."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.support.app import App
from tests.support.bark import bark
from tests.support.cli import finish
from tests.support.deliveries import SECRET, push
from tests.support.deploy_cgi import deliver
from tests.support.workers import wait_until


def modes(directory: Path) -> dict[str, int]:
    """Return path and mode of all files and directories there; symlinks have no mode."""
    paths = [directory, *directory.rglob("*")]
    return {
        str(path.relative_to(directory.parent)): stat.S_IMODE(path.stat().st_mode)
        for path in paths
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
        for number in (
            1,
            2,
        ):  # the first delivery finds no state directory, so no copy of the config is kept
            response = deliver(app.cli, body, umask=umask, number=f"d-{number}")
            assert response.status == 202, response
            app.cli.wait_for(response.document["deployment"])
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
