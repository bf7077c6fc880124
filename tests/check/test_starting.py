"""The checks of what starts the worker: cron or a timer, and the webhook for a delivery."""

from __future__ import annotations

import dataclasses
import os
import pwd
from pathlib import Path

import pytest

from deployctl.check import starting
from deployctl.check.starting import Places
from deployctl.config.load import load
from deployctl.system import wake
from deployctl.values.repo import Config
from tests.conftest import WriteConfig
from tests.support.checks import levels, only

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def loaded(write_config: WriteConfig) -> Config:
    return load(str(write_config({"app": {}})))


# ---- the worker -----------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "cron.d").mkdir()
    (tmp_path / "units").mkdir()
    own = tmp_path / "own"
    own.touch()
    return Places(
        crontab=str(tmp_path / "crontab"),
        cron_d=str(tmp_path / "cron.d"),
        units=(str(tmp_path / "units"),),
        own=("cat", str(own)),
    )


def test_without_cron_or_timer_there_is_a_warning_with_the_commands_to_install_one(
    loaded: Config, places: Places
) -> None:
    level, message, fix = only(starting.worker(loaded, places))
    assert level == "warn"
    assert message == (
        "neither cron nor a timer starts deployctl run: what a crash leaves would wait"
    )
    assert (fix or "").splitlines() == [
        f"deployctl setup systemd -c {loaded.path} | sudo sh",
        "or, without systemd:",
        f"deployctl setup cron -c {loaded.path} | sudo tee /etc/cron.d/deployctl",
    ]


def test_without_cron_or_timer_the_warning_names_repos_with_probation(
    write_config: WriteConfig, places: Places
) -> None:
    loaded = load(str(write_config({"app": {"probation": "10m"}})))
    _, message, _ = only(starting.worker(loaded, places))
    assert message.endswith("; nobody would look after what is on probation (app)")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("crontab", f"* * * * * {ME} /usr/local/bin/deployctl run --quiet"),
        ("cron.d/deployctl", f"*/5 * * * * {ME} deployctl -c /etc/x.yml sync >/dev/null 2>&1"),
        ("cron.d/deployctl", f"@reboot {ME} python3 -m deployctl run"),
        ("own", "* * * * * deployctl run"),
        ("units/deployctl.service", f"[Service]\nUser={ME}\nExecStart=/opt/bin/deployctl run"),
        ("units/deployctl.service", f"ExecStart=systemd-run --uid={ME} -- deployctl sync"),
    ],
)
def test_a_line_that_starts_the_worker_is_found(
    tmp_path: Path, loaded: Config, places: Places, name: str, line: str
) -> None:
    (tmp_path / name).write_text(f"SHELL=/bin/sh\n# a remark\n{line}\n")
    (tmp_path / "units" / "deployctl.timer").touch()
    origin = "crontab" if name == "own" else tmp_path / name
    assert only(starting.worker(loaded, places)) == ("ok", f"started by {origin}", None)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("crontab", f"#* * * * * {ME} deployctl run"),
        ("crontab", f"* * * * * {ME} deployctl status; run-parts /etc"),
        ("crontab", f"* * * * * {ME} deployctl running"),
        ("cron.d/deployctl.disabled", f"* * * * * {ME} deployctl run"),
        ("units/deployctl.service", "Description=deployctl run"),
        ("units/deployctl.path", "ExecStart=deployctl run"),
        ("units/untimed.service", f"[Service]\nUser={ME}\nExecStart=deployctl run"),
    ],
)
def test_a_line_that_does_not_start_the_worker_is_not_found(
    tmp_path: Path, loaded: Config, places: Places, name: str, line: str
) -> None:
    (tmp_path / name).write_text(f"{line}\n")
    assert levels(starting.worker(loaded, places)) == ["warn"]


def test_a_worker_of_another_account_only_is_a_warning(
    tmp_path: Path, loaded: Config, places: Places
) -> None:
    (tmp_path / "crontab").write_text("* * * * * ada deployctl run\n")
    level, message, fix = only(starting.worker(loaded, places))
    assert (level, message) == ("warn", f"started for ada ({tmp_path}/crontab), and not for {ME}")
    assert fix is not None
    assert fix.startswith("deployctl setup systemd ")
    (tmp_path / "own").write_text("* * * * * deployctl run\n")
    assert levels(starting.worker(loaded, places)) == ["ok"]


# ---- how a delivery starts the worker -------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> starting.Machine:
    """Stand-ins for systemd, which cannot run here: units are active, stopping one ends all."""
    monkeypatch.setattr(wake, "LINGER_DIR", str(tmp_path / "linger"))
    monkeypatch.setattr(wake, "RUNTIME_ROOT", str(tmp_path / "runtime"))
    cgroup(tmp_path, "self", "0::/user.slice/user-1000.slice/session-3.scope")
    (tmp_path / "kill_mode").write_text("control-group\n")
    kill_mode = ("sh", "-c", f"cat {tmp_path}/kill_mode")
    return starting.Machine(str(tmp_path / "proc"), is_active=("true",), kill_mode=kill_mode)


def cgroup(tmp_path: Path, pid: str, line: str, comm: str = "fcgiwrap") -> None:
    """Write the files of a process in a stand-in for /proc."""
    directory = tmp_path / "proc" / pid
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cgroup").write_text(f"9:pids:/x.service\n{line}\n")
    (directory / "comm").write_text(f"{comm}\n")


UNIT = "systemd starts the worker for a delivery: deployctl.path"
SCOPE = "a delivery starts the worker in a scope of this account's own systemd"
SESSION = "a delivery starts the worker in a session of its own"


def test_the_method_that_starts_the_worker_is_reported(
    tmp_path: Path, loaded: Config, machine: starting.Machine
) -> None:
    assert only(starting.start(loaded, machine)) == ("ok", SESSION, None)
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / ME).touch()
    assert only(starting.start(loaded, machine)) == ("ok", SESSION, None)
    (tmp_path / "runtime" / str(os.geteuid()) / "systemd").mkdir(parents=True)
    assert only(starting.start(loaded, machine)) == ("ok", SCOPE, None)
    (tmp_path / "state" / "wake").mkdir(parents=True)
    assert only(starting.start(loaded, machine)) == ("ok", UNIT, None)
    (tmp_path / "state" / "wake" / "now").touch()
    assert only(starting.start(loaded, machine)) == ("ok", UNIT, None)


def test_a_path_unit_that_does_not_react_is_a_warning(
    tmp_path: Path, loaded: Config, machine: starting.Machine
) -> None:
    wake = tmp_path / "state" / "wake"
    wake.mkdir(parents=True)
    setup = f"deployctl setup systemd -c {loaded.path} | sudo sh"
    stopped = dataclasses.replace(machine, is_active=("false",))
    missing = dataclasses.replace(machine, is_active=("/nonexistent/systemctl",))
    for inactive in (stopped, missing):
        assert only(starting.start(loaded, inactive)) == (
            "warn",
            f"deployctl.path is not active; until it is, {SESSION}",
            setup,
        )
    (wake / "now").touch()
    os.utime(wake / "now", (1, 1))
    level, message, fix = only(starting.start(loaded, machine))
    assert (level, fix) == ("warn", setup)
    assert message.startswith(f"{wake}/now was left for ")
    assert message.endswith(f": deployctl.path is not active; until it is, {SESSION}")


@pytest.mark.parametrize(
    ("pid", "line"),
    [
        ("self", "0::/system.slice/fcgiwrap.service"),
        ("17", "0::/system.slice/fcgiwrap.service"),
        ("17", "1:name=systemd:/system.slice/fcgiwrap.service"),
    ],
)
def test_a_session_inside_a_service_is_a_warning_unless_its_stop_kills_only_itself(
    tmp_path: Path, loaded: Config, machine: starting.Machine, pid: str, line: str
) -> None:
    cgroup(tmp_path, pid, line)
    assert only(starting.start(loaded, machine)) == (
        "warn",
        f"{SESSION} inside fcgiwrap.service: restarting that ends the deployment",
        f"deployctl setup systemd -c {loaded.path} | sudo sh",
    )
    (tmp_path / "kill_mode").write_text("process\n")
    assert levels(starting.start(loaded, machine)) == ["ok"]
    (tmp_path / "kill_mode").write_text("")
    assert levels(starting.start(loaded, machine)) == ["warn"]
    cgroup(tmp_path, pid, line, "cron")
    assert levels(starting.start(loaded, machine)) == ["warn" if pid == "self" else "ok"]
