"""Only the account that owns the state may run deployctl; others are told the command to use."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from deployctl.manual.own_command import this_command_as
from deployctl.system.trust import account_name
from tests.support.app import App
from tests.support.deliveries import SECRET
from tests.support.deploy_cgi import deliver

NOBODY = 65534


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("/usr/local/bin/deployctl status", "deployctl -c '/srv/a b.yml' status"),
        ("/opt/x/bin/deployctl lock blog -m 'on holiday'", None),
        ("deploy/bin/deployctl -c it.yml status", "deploy/bin/deployctl -c it.yml status"),
        ("x/deployctl run --config=it.yml", "x/deployctl run --config=it.yml"),
        ("/lib/deployctl/__main__.py run", f"{sys.executable} -m deployctl -c '/srv/a b.yml' run"),
    ],
)
def test_the_suggested_command_repeats_what_was_typed_and_names_the_config_in_use(
    typed: str, command: str | None
) -> None:
    command = command or "/opt/x/bin/deployctl -c '/srv/a b.yml' lock blog -m 'on holiday'"
    suggested = this_command_as("deploy", "/srv/a b.yml", shlex.split(typed))
    assert suggested == f"sudo -u deploy {command}"


def test_the_suggested_command_does_not_name_the_config_that_every_account_finds() -> None:
    argv = ["/usr/bin/deployctl", "status"]
    suggested = this_command_as("#1001", "/etc/deployctl/repos.yml", argv)
    assert suggested == "sudo -u '#1001' deployctl status"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("words", [["status", "app"], ["deploy", "app"], ["run"]])
def test_root_too_is_told_to_run_it_as_the_owner(app: App, words: list[str]) -> None:
    app.release("1")
    os.chown(app.state, NOBODY, -1)
    owner = account_name(NOBODY)
    done = app.cli(*words)
    command = shlex.join(["sudo", "-u", owner, *app.cli.argv(*words)])
    assert (done.code, done.error) == (
        2,
        f"{app.state} belongs to {owner} and this is root: run it as {owner}: {command}",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_webhook_of_another_account_is_answered_503_and_leaves_nothing_behind(app: App) -> None:
    app.configure(id=1296269, webhook_secret=SECRET)
    app.release("1")
    os.chown(app.state, NOBODY, -1)
    before = sorted(Path(app.state).rglob("*"))
    assert deliver(app.cli).status == 503
    assert sorted(Path(app.state).rglob("*")) == before
