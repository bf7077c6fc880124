"""Tests that the state directory must be on a file system of this machine, for its locks."""

from __future__ import annotations

import pytest

from deployctl.system import mounts
from tests.support.app import App
from tests.support.deliveries import SECRET
from tests.support.deploy_cgi import deliver
from tests.support.fuse import mounted


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuse.sshfs"])
def test_file_systems_of_other_machines_are_recognised_by_their_types(kind: str) -> None:
    assert mounts.is_unsafe(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk"])
def test_file_systems_of_this_machine_are_accepted(kind: str) -> None:
    assert not mounts.is_unsafe(kind)


def test_commands_that_write_and_the_webhook_refuse_a_file_system_with_unreliable_locks(
    app: App,
) -> None:
    app.configure(id=1296269, webhook_secret=SECRET)
    app.push("1")
    app.state.mkdir(mode=0o700)
    message = (
        f"{app.state} is on fuse.sshfs (mounted at {app.state}), where locks cannot be relied "
        "on: set state_dir in repos.yml to a directory on a local disk"
    )
    with mounted(app.state):
        done = app.cli("deploy", "app")
        assert (done.code, done.error) == (2, message)
        assert deliver(app.cli).status == 503
        assert app.cli("status").code == 0, "commands that only read are allowed"
    assert app.release("2")["status"] == "succeeded"
