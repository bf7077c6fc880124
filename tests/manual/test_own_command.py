"""Who may run it: the account that owns the state, and everybody else hears how."""

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
    ("typed", "told"),
    [
        ("/usr/local/bin/deployctl status", "deployctl -c '/srv/a b.yml' status"),
        ("/opt/x/bin/deployctl lock blog -m 'on holiday'", None),
        ("deploy/bin/deployctl -c it.yml status", "deploy/bin/deployctl -c it.yml status"),
        ("x/deployctl run --config=it.yml", "x/deployctl run --config=it.yml"),
        ("/lib/deployctl/__main__.py run", f"{sys.executable} -m deployctl -c '/srv/a b.yml' run"),
    ],
)
def test_the_command_line_comes_back_as_it_was_typed_with_the_config_it_found(
    typed: str, told: str | None
) -> None:
    told = told or "/opt/x/bin/deployctl -c '/srv/a b.yml' lock blog -m 'on holiday'"
    said = this_command_as("deploy", "/srv/a b.yml", shlex.split(typed))
    assert said == f"sudo -u deploy {told}"


def test_a_config_that_every_account_finds_need_not_be_named() -> None:
    said = this_command_as("#1001", "/etc/deployctl/repos.yml", ["/usr/bin/deployctl", "status"])
    assert said == "sudo -u '#1001' deployctl status"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("words", [["status", "app"], ["deploy", "app"], ["run"]])
def test_root_is_no_exception(app: App, words: list[str]) -> None:
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
