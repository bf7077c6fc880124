"""Unusual input and unusual times: bytes that are no UTF-8, huge numbers, an early Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.app import App
from tests.support.paths import ROOT


def test_a_release_that_a_stage_removes_fails_before_the_switch(app: App) -> None:
    app.release("1")
    marker = app.path / "shared" / "restarts"
    app.configure(
        stages=[{"name": "build", "run": 'rm -r "$PWD"'}], restart=f"echo again >>{marker}"
    )
    revision = app.push("2")
    document = app.deploy(code=1)
    release = app.path / "releases" / f"2-{revision[:12]}"
    assert document["status"] == "failed"
    assert document["failure"]["stage"] == "switch"
    assert document["failure"]["message"] == f"{release}: No such file or directory"
    assert app.live == "1"
    assert not marker.exists()
    assert app.status["hold"] is None


@pytest.mark.parametrize("stage", ["rm REVISION", "echo v1.2-3-gabcdef > REVISION"])
def test_a_stage_cannot_change_the_sha_in_the_file_revision(app: App, stage: str) -> None:
    app.configure(stages=[{"name": "build", "run": stage}])
    revision = app.push("1")
    assert app.deploy()["status"] == "succeeded"
    assert (app.path / "current" / "REVISION").read_text() == f"{revision}\n"


@pytest.mark.parametrize("command", ["history", "notices"])
def test_too_large_a_number_of_lines_is_wrong_usage(app: App, command: str) -> None:
    app.configure()
    done = app.cli(command, "-n", "99999999999999999999")
    assert done.code == 2
    assert done.error == (
        "Invalid value for '-n': 99999999999999999999 is not in the range 1<=x<=1000000000 "
        f"(see: deployctl {command} --help)"
    )


def test_bytes_that_are_no_utf_8_are_stored_escaped(app: App) -> None:
    app.release("1")
    env = {"SUDO_USER": "\udcff"}
    assert app.cli("lock", "app", "-m", "\udcfe", env=env).code == 0
    lock = app.status["lock"]
    assert (lock["actor"], lock["why"]) == (r"\xff", r"\xfe")


def test_a_full_ref_that_is_no_utf_8_is_refused(app: App) -> None:
    app.release("1")
    done = app.cli("deploy", "app", "--ref", "refs/heads/\udcff")
    assert done.code == 2
    assert done.error == r"refs/heads/\udcff is not a legal name of a branch or tag"


def test_an_empty_revision_is_refused(app: App) -> None:
    """A script in which a variable is unset must not deploy the tip instead."""
    app.release("1")
    app.push("2")
    done = app.cli("deploy", "app", "--revision", "")
    assert done.code == 2
    assert done.error == (
        "--revision  is not a commit's sha (or the beginning of one, at least 4 digits); "
        "for a branch or tag there is --ref"
    )
    assert app.live == "1"


def test_an_empty_config_option_does_not_select_the_default_file(app: App) -> None:
    app.configure()
    done = app.cli("status", "-c", "")
    assert done.code == 2
    assert done.error == "--config : No such file or directory: name a repos.yml that exists"


def test_ctrl_c_while_the_program_loads_is_one_line() -> None:
    """The program signals itself while it imports click."""
    raising = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click':\n"
        f"            os.kill(os.getpid(), {signal.SIGINT.value})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from deployctl.__main__ import main\n"
        "sys.argv = ['deployctl', 'status']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", raising], check=False, capture_output=True, cwd=ROOT, text=True
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "deployctl: interrupted\n"
