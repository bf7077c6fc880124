"""``deployctl setup``: the programs that it is for accept the configuration it prints."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.app import App
from tests.support.deliveries import SECRET
from tests.support.servers import installed_program
from tests.support.systemd import settings, units

ME = pwd.getpwuid(os.geteuid()).pw_name
BIN = os.path.dirname(sys.executable)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def setup(app: App, topic: str) -> str:
    done = app.cli("setup", topic)
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def test_without_a_topic_the_topics_are_listed(app: App) -> None:
    app.cli.config.write_text("rubbish")
    shown = app.cli("setup").stdout.splitlines()
    assert [line.split()[0] for line in shown[:-1]] == [
        *("systemd", "cron", "nginx", "inetd", "xinetd")
    ]
    assert shown[-1] == "print one with: deployctl setup TOPIC"
    assert {"topic": "cron", "use": "for /etc/cron.d/deployctl"} in app.cli.json("setup")["topics"]


def test_an_unknown_topic_is_refused_with_a_similar_name(app: App) -> None:
    done = app.cli("setup", "sytemd")
    known = "systemd, cron, nginx, inetd, xinetd"
    message = f"no setup for sytemd, did you mean systemd? (there are: {known})"
    assert (done.code, done.stdout, done.error) == (2, "", message)


def test_json_has_the_same_text_and_no_file_is_created(app: App) -> None:
    for topic in ("systemd", "cron", "nginx", "inetd", "xinetd"):
        assert app.cli.json("setup", topic) == {"topic": topic, "text": setup(app, topic)}
    assert not app.state.exists()


def test_the_cron_lines_have_the_paths_and_account_of_this_installation(app: App) -> None:
    call = f"{ME} {BIN}/deployctl -c {app.cli.config}"
    assert setup(app, "cron").splitlines() == [
        f"* * * * * {call} run --quiet",
        f"@reboot {call} run --quiet",
        f"*/10 * * * * {call} sync --quiet",
    ]


def test_the_cron_commands_work_silently_in_the_environment_of_cron(app: App) -> None:
    environment = {"HOME": "/", "LOGNAME": ME, "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    app.push("1")
    for line in setup(app, "cron").splitlines():
        command = line.partition(f" {ME} ")[2]
        done = subprocess.run(
            ["/bin/sh", "-c", command], check=False, capture_output=True, cwd="/", env=environment
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (app.path / "current" / "version").read_text() == "1\n"


def test_systemd_analyze_finds_no_error_in_the_units(app: App, tmp_path: Path) -> None:
    script = setup(app, "systemd")
    (tmp_path / "units").mkdir()
    for name, text in units(script).items():
        (tmp_path / "units" / name).write_text(text)
    paths = sorted(map(str, (tmp_path / "units").iterdir()))
    assert len(paths) == 8
    done = subprocess.run(
        [installed_program("systemd-analyze"), "verify", *paths],
        check=False,
        capture_output=True,
        text=True,
    )
    assert [line for line in done.stderr.splitlines() if "deployctl" in line] == []


def test_the_worker_runs_in_a_service_of_its_own(app: App) -> None:
    unit_files = units(setup(app, "systemd"))
    wake = app.state / "wake"
    assert settings(unit_files["deployctl.path"], "DirectoryNotEmpty") == [str(wake)]
    (remove, run), (timed,) = (
        settings(unit_files[f"{name}.service"], "ExecStart")
        for name in ("deployctl", "deployctl-run")
    )
    assert remove == f"/usr/bin/find {wake} -mindepth 1 -delete"
    assert run == f"+{timed}"
    assert f" --uid={ME} " in timed
    assert " --property=KillMode=process " in timed
    call = f"-- {BIN}/deployctl -c {app.cli.config}"
    assert timed.endswith(f" {call} run --quiet")
    (sync,) = settings(unit_files["deployctl-sync.service"], "ExecStart")
    assert sync.endswith(f" {call} sync --quiet")
    assert "EnvironmentFile" not in "".join(unit_files.values())


def test_variables_that_secrets_name_are_read_from_a_file(app: App) -> None:
    app.configure(secrets={"TOKEN": "env:BLOG_TOKEN"}, webhook_secret="env:HOOK")
    script = setup(app, "systemd")
    file = f"{app.directory}/environment"
    assert "# repos.yml takes BLOG_TOKEN, HOOK from the environment: write\n" in script
    assert settings(units(script)["deployctl-cgi.service"], "EnvironmentFile") == [f"-{file}"]
    assert script.count(f" --property=EnvironmentFile=-{file} ") == 3


def test_no_secret_is_printed(app: App) -> None:
    app.configure(webhook_secret=SECRET, secrets={"A": "hidden-value"})
    printed = "".join(setup(app, topic) for topic in ("systemd", "cron", "nginx", "inetd"))
    assert SECRET not in printed
    assert "hidden-value" not in printed


@as_root
def test_another_account_is_told_the_command_to_use(app: App) -> None:
    app.state.mkdir(mode=0o700)
    os.chown(app.state, 65534, 65534)
    done = app.cli("setup", "cron")
    assert done.code == 2
    assert done.error == (
        f"{app.state} belongs to nobody and this is root: run it as nobody: sudo -u nobody "
        f"{sys.executable} -m deployctl -c {app.cli.config} setup cron"
    )


@pytest.mark.parametrize("topic", ["inetd", "xinetd"])
def test_a_secret_in_the_environment_is_refused_for_inetd(app: App, topic: str) -> None:
    app.configure(secrets={"TOKEN": "env:BLOG_TOKEN"})
    assert app.cli("setup", topic).error == (
        f"{app.cli.config} takes BLOG_TOKEN from the environment, and what inetd starts has none: "
        "keep these secrets in files (file:PATH)"
    )
    assert "repos.yml takes BLOG_TOKEN from the environment" in app.cli("setup", "cron").stdout


def test_a_path_that_needs_quotes_is_refused(app: App, tmp_path: Path) -> None:
    done = app.cli("-c", str(app.write({}, state_dir=str(tmp_path / "a b"))), "setup", "cron")
    assert (done.code, re.sub(r"^.*/", "", done.error.partition(" has ")[0])) == (2, "a b")
