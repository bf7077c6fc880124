"""The checks of the machine: config, secrets, state, disk, record, programs, channels."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from deployctl.check import channels, config, examine, programs, state
from deployctl.check.finding import Finding
from deployctl.config.load import load
from deployctl.store import deployments, queue
from deployctl.store.database import Database
from deployctl.system.environment import PATH
from deployctl.system.find_program import first_program
from deployctl.system.mounts import mounted_at
from deployctl.system.process_tree import identity
from deployctl.values.repo import Config
from tests.conftest import WriteConfig
from tests.support.bark import KEY
from tests.support.checks import levels, only

ME = pwd.getpwuid(os.geteuid()).pw_name
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /srv rw - nfs4 nas:/srv rw
31 30 254:2 / /srv/local rw master:2 - xfs /dev/vdb rw
32 27 0:41 / /srv/a\\040b rw - fuse.sshfs far: rw
33 27 0:42 / /over rw - ext4 /dev/vdc rw
34 27 0:43 / /over rw - 9p share rw
"""


@pytest.fixture
def loaded(write_config: WriteConfig) -> Config:
    return load(str(write_config({"app": {}})))


def configured(write_config: WriteConfig, top: dict[str, Any] | None = None, **repo: Any) -> Config:
    return load(str(write_config({"app": repo}, **(top or {}))))


def secrets(loaded: Config) -> list[Finding]:
    return list(config.secrets(loaded, loaded.repos["app"]))


# ---- repos.yml ------------------------------------------------------------------------------


def test_a_config_that_only_its_owner_can_read_is_ok(loaded: Config) -> None:
    assert only(config.config_file(loaded)) == ("ok", f"{loaded.path}: 1 repo", None)


def test_a_config_that_others_can_read_may_hold_no_secret(write_config: WriteConfig) -> None:
    for repo in ({}, {"webhook_secret": "env:X"}, {"secrets": {"A": "file:x"}}):
        loaded = configured(write_config, **repo)
        os.chmod(loaded.path, 0o644)
        assert levels(config.config_file(loaded)) == ["ok"], repo
    public = "dGhlIHB1YmxpYyBrZXkgb2Ygc3IuaHQ="
    loaded = configured(write_config, forge="sourcehut", webhook_secret=public)
    os.chmod(loaded.path, 0o644)
    assert levels(config.config_file(loaded)) == ["ok"]
    channel = {"channels": {"phone": f"bark://example.org/{KEY}"}}
    for top, repo in (
        ({}, {"webhook_secret": "0123456789abcdef"}),
        ({}, {"secrets": {"A": "b"}}),
        (channel, {}),
    ):
        loaded = configured(write_config, top, **repo)
        os.chmod(loaded.path, 0o644)
        assert only(config.config_file(loaded)) == (
            "warn",
            f"{loaded.path} holds a secret and can be read by other accounts (mode 0644)",
            f"chmod go-r {loaded.path}",
        )


def test_a_config_that_others_can_change_is_a_failure_with_the_command_that_mends_it(
    loaded: Config,
) -> None:
    os.chmod(loaded.path, 0o666)
    (found,) = examine.examine(loaded.path, None)
    assert (found.check, found.level, found.message, found.fix) == (
        "config",
        "fail",
        f"{loaded.path} can be changed by other accounts (mode 0666)",
        f"chmod go-w {loaded.path}",
    )


def test_a_config_that_everybody_can_replace_is_a_failure(tmp_path: Path, loaded: Config) -> None:
    tmp_path.chmod(0o777)
    assert only(config.config_file(loaded))[::2] == ("fail", f"chmod o-w {tmp_path}")
    tmp_path.chmod(0o1777)
    assert levels(config.config_file(loaded)) == ["ok"]
    tmp_path.chmod(0o700)


# ---- secrets --------------------------------------------------------------------------------


def test_secrets_that_can_be_read_are_counted_and_never_shown(
    tmp_path: Path, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("s3cret-in-a-file\n")
    (tmp_path / "token").chmod(0o600)
    monkeypatch.setenv("TOKEN", "s3cret-in-a-variable")
    loaded = configured(
        write_config,
        secrets={"A": "file:token", "B": "env:TOKEN"},
        webhook_secret="s3cret-in-the-config",
    )
    assert only(secrets(loaded)) == ("ok", "3 can be read", None)
    assert secrets(configured(write_config)) == []


@pytest.mark.parametrize(
    ("mode", "level", "what", "fix"),
    [
        (0o602, "fail", "can be changed by other accounts (mode 0602)", "chmod go-w"),
        (0o604, "warn", "holds a secret and can be read by other accounts", "chmod go-r"),
    ],
)
def test_a_secret_file_that_is_open_is_reported_with_the_command_that_closes_it(
    tmp_path: Path, write_config: WriteConfig, mode: int, level: str, what: str, fix: str
) -> None:
    path = tmp_path / "a secret"
    path.write_text("s3cret\n")
    path.chmod(mode)
    for keys in ({"secrets": {"A": f"file:{path}"}}, {"webhook_secret": f"file:{path}"}):
        found = only(secrets(configured(write_config, **keys)))
        assert (found[0], found[2]) == (level, f"{fix} '{path}'")
        assert what in found[1]


@as_root
def test_a_secret_file_of_root_may_be_readable_for_the_group_of_this_account(
    tmp_path: Path, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    os.chown(path, -1, NOBODY)
    path.chmod(0o640)
    loaded = configured(write_config, secrets={"A": f"file:{path}"})
    assert only(secrets(loaded))[::2] == ("warn", f"chmod go-r {path}")
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)  # root's file, this account's group
    assert levels(secrets(loaded)) == ["ok"]
    path.chmod(0o644)
    assert only(secrets(loaded))[::2] == ("warn", f"chmod o-r {path}")


def test_a_missing_secret_is_a_failure(tmp_path: Path, write_config: WriteConfig) -> None:
    loaded = configured(write_config, secrets={"A": "file:gone", "B": "env:NO_SUCH_VARIABLE"})
    assert [(finding.level, finding.message, finding.fix) for finding in secrets(loaded)] == [
        (
            "fail",
            f"cannot read the secret file {tmp_path}/gone: No such file or directory",
            "create it, readable by this account",
        ),
        (
            "fail",
            "the environment variable NO_SUCH_VARIABLE is empty or not set",
            "put the secret there",
        ),
    ]


def test_a_missing_variable_for_the_webhook_is_only_a_warning(
    write_config: WriteConfig,
) -> None:
    assert only(secrets(configured(write_config, webhook_secret="env:NO_SUCH_VARIABLE"))) == (
        "warn",
        "NO_SUCH_VARIABLE is not set here, and the web server needs it",
        "set NO_SUCH_VARIABLE for fcgiwrap (Environment=), or use file:PATH",
    )


# ---- state, file system, disk ---------------------------------------------------------------


def test_a_state_directory_must_be_closed_to_other_accounts(tmp_path: Path, loaded: Config) -> None:
    path = tmp_path / "state"
    assert only(state.state(loaded))[:2] == ("ok", f"{path} will be made by the first deployment")
    path.mkdir(0o700)
    assert only(state.state(loaded)) == ("ok", str(path), None)
    for mode, level in ((0o750, "warn"), (0o711, "warn"), (0o770, "fail")):
        path.chmod(mode)
        assert only(state.state(loaded)) == (
            level,
            f"{path} is open to other accounts (mode {mode:04o})",
            f"chmod 700 {path}",
        )


def test_a_state_directory_that_cannot_be_made_is_reported_with_the_command_that_makes_it(
    tmp_path: Path, loaded: Config
) -> None:
    (tmp_path / "state").touch()
    assert only(state.state(loaded)) == (
        "fail",
        f"cannot create {tmp_path}/state: Not a directory",
        f"sudo install -d -m 700 -o {ME} {tmp_path}/state",
    )


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/var/lib", ("ext4", "/")),
        ("/srv", ("nfs4", "/srv")),
        ("/srv/x", ("nfs4", "/srv")),
        ("/srvx", ("ext4", "/")),
        ("/srv/local/x", ("xfs", "/srv/local")),
        ("/srv/a b/x", ("fuse.sshfs", "/srv/a b")),
        ("/over/x", ("9p", "/over")),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_and_latest_mount(
    tmp_path: Path, path: str, found: tuple[str, str]
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert mounted_at(path, str(tmp_path / "mountinfo")) == found


def test_a_state_directory_on_a_network_file_system_is_a_failure(
    tmp_path: Path, loaded: Config
) -> None:
    assert levels(state.file_system(loaded)) == ["ok"], "the one that this test runs on"
    (tmp_path / "mountinfo").write_text(MOUNTS)
    for path, level in (("/srv/state", "fail"), ("/over", "fail"), ("/srv/local", "ok")):
        moved = dataclasses.replace(loaded, state_dir=path)
        assert levels(state.file_system(moved, str(tmp_path / "mountinfo"))) == [level]
    moved = dataclasses.replace(loaded, state_dir="/srv/state")
    assert only(state.file_system(moved, str(tmp_path / "mountinfo")))[1:] == (
        "/srv/state is on nfs4 (mounted at /srv), where locks cannot be relied on",
        "set state_dir in repos.yml to a local disk's directory",
    )


def test_little_free_space_is_a_warning_or_a_failure(
    tmp_path: Path, loaded: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> list[Finding]:
        return [*state.disk(loaded), *state.repo_disk(loaded, loaded.repos["app"])]

    assert levels(found()) == ["ok", "ok"]
    monkeypatch.setattr(state, "WARN_BELOW", 2**62)
    assert levels(found()) == ["warn", "warn"]
    assert {finding.fix for finding in found()} == {f"free some: df -h {tmp_path}"}
    monkeypatch.setattr(state, "FAIL_BELOW", 2**61)
    assert levels(found()) == ["fail", "fail"]
    assert only(state.disk(loaded))[1].endswith(f" free for {loaded.state_dir}")


# ---- the record -----------------------------------------------------------------------------


def make_record(loaded: Config) -> Path:
    """Make an empty record; return the path of its file."""
    with Database(loaded.state_dir):
        return Path(loaded.state_dir) / "deployctl.db"


def test_checking_does_not_make_a_record(loaded: Config) -> None:
    assert only(state.database(loaded))[1] == "no record yet: nothing was deployed"
    assert not os.path.exists(loaded.state_dir)


@pytest.mark.parametrize("part", ["all of it", "a page"])
def test_a_damaged_record_is_a_failure_with_advice(loaded: Config, part: str) -> None:
    path = make_record(loaded)
    undamaged = path.read_bytes()
    garbage = b"\xff" * len(undamaged)
    path.write_bytes(garbage if part == "all of it" else undamaged[:8192] + garbage[8192:])
    level, message, fix = only(state.database(loaded))
    assert level == "fail"
    assert message.startswith(f"{path} is damaged: ")
    assert fix is not None
    assert f"mv {path} {path}.damaged" in fix


def test_a_record_of_a_newer_version_is_not_called_damaged(loaded: Config) -> None:
    path = make_record(loaded)
    with Database(loaded.state_dir) as db:
        db.connection.execute("PRAGMA user_version = 1000")
    assert only(state.database(loaded)) == (
        "fail",
        f"{path} was written by a newer deployctl",
        "install that version here too",
    )


def test_a_deployment_that_a_crash_left_is_a_warning_and_a_running_one_is_not(
    loaded: Config,
) -> None:
    make_record(loaded)
    with Database(loaded.state_dir) as db:
        with db.writing() as connection:
            number = queue.enqueue(connection, repo="app", trigger="cli", actor="me", now=1.0)
        me = dataclasses.asdict(identity())
        deployments.claim(db, number, json.dumps(me), 2.0)
        assert levels(state.database(loaded)) == ["ok"]
        dead = json.dumps({**me, "started": 1})
        with db.writing() as connection:
            connection.execute("UPDATE deployments SET runner = ?", (dead,))
    assert only(state.database(loaded)) == (
        "warn",
        "a process that is gone left #1 of app undone",
        "deployctl run",
    )


# ---- programs -------------------------------------------------------------------------------


def test_the_version_of_git_is_reported(loaded: Config) -> None:
    level, message, _ = only(programs.programs(loaded))
    assert (level, message.split()[:2]) == ("ok", ["git", "version"])


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("npm", "ci"), "npm"),
        (("./node_modules/.bin/gulp", "update"), None),
        ('supervisorctl restart "$DEPLOYCTL_REPO:*"', "supervisorctl"),
        ("\n# first\n  PORT=1 A='b c' make -j2 # all\n", "make"),
        ("if true; then false; fi", "if"),
        ("! grep bad version", None),
        ("$TOOL build", None),
        ("echo 'two\nlines'", None),
        ("./build.sh", None),
        ("X=1", None),
        ('[ -w / ] || set -- sudo -n\n"$@" nginx -t', "nginx"),
    ],
)
def test_first_word_is_the_program_that_a_command_starts(
    command: str | tuple[str, ...], word: str | None
) -> None:
    assert first_program(command) == word


def test_programs_of_the_steps_are_looked_for_on_the_path_of_the_steps(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    def found(**keys: Any) -> list[Finding]:
        loaded = configured(write_config, **keys)
        return list(programs.step_programs(loaded, loaded.repos["app"]))

    assert found() == []
    usual = {"stages": [{"name": "a", "run": "if true; then echo; fi"}], "restart": "sort x"}
    assert only(found(**usual))[:2] == ("ok", "if, sort: on the PATH of the steps")
    assert only(found(deployer="none", restart="no-such-tool --now")) == (
        "warn",
        f"no-such-tool is not on the PATH of the steps: {PATH}",
        "install no-such-tool, or set PATH under env of app",
    )
    tool = tmp_path / "bin" / "no-such-tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    path = f"{tool.parent}:{PATH}"
    assert levels(found(restart="no-such-tool", env={"PATH": path})) == ["ok"]
    stage = {"name": "a", "run": ["no-such-tool"], "env": {"PATH": path}}
    assert levels(found(stages=[stage])) == ["ok"]
    assert levels(found(stages=[stage], restart="no-such-tool")) == ["warn"]


@pytest.mark.parametrize(
    ("deployer", "program"),
    [
        ("nginx", "nginx"),
        ("npm", "npm"),
        ("pipenv", "pipenv"),
        ("supervisor", "supervisorctl"),
        ("systemd", "systemctl"),
        ("pm2", "pm2"),
        ("docker-compose", "docker"),
    ],
)
def test_the_program_of_every_deployer_is_looked_for(
    write_config: WriteConfig, deployer: str, program: str
) -> None:
    loaded = configured(write_config, deployer=deployer, env={"PATH": "/nonexistent"})
    *_, last = programs.step_programs(loaded, loaded.repos["app"])  # pm2 builds with npm
    assert (last.level, last.message, last.fix) == (
        "warn",
        f"{program} is not on the PATH of the steps: /nonexistent",
        f"install {program}, or set PATH under env of app",
    )


# ---- channels -------------------------------------------------------------------------------


def test_a_config_without_channels_is_a_warning(loaded: Config) -> None:
    level, message, fix = only(channels.channels(loaded))
    assert (level, message) == (
        "warn",
        "there is no channel: nobody hears of a failed deployment",
    )
    assert fix == "name a channel under channels and notify in repos.yml (its example shows both)"
    assert list(channels.notify(loaded, loaded.repos["app"])) == [], "said once is enough"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
def test_the_url_of_a_channel_is_checked_and_not_shown(
    tmp_path: Path, write_config: WriteConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    named = {
        "good": f"bark://127.0.0.1:1/{KEY}",
        "strange": f"brak://127.0.0.1:1/{KEY}",
        "gone": "file:gone.url",
    }
    unknown = "its url is not one Apprise knows: write it as on https://appriseit.com/services/"
    found = list(channels.channels(configured(write_config, {"channels": named})))
    assert [(finding.level, finding.message, finding.fix) for finding in found] == [
        ("ok", "good: its url can be read", None),
        ("fail", f"strange: {unknown}", "deployctl notify strange"),
        (
            "fail",
            f"cannot read the secret file {tmp_path}/gone.url: No such file or directory",
            "create it, readable by this account",
        ),
    ]
    assert KEY not in "".join(capfd.readouterr())


def test_a_repo_without_notify_is_a_warning_where_there_are_channels(
    write_config: WriteConfig,
) -> None:
    top = {"channels": {"phone": f"bark://127.0.0.1:1/{KEY}"}}
    for keys, found in (
        ({"notify": ["phone"]}, ("ok", "notices go to phone", None)),
        (
            {},
            (
                "warn",
                "notify names no channel: nobody hears of a failed deployment",
                "set notify of app in repos.yml (there are: phone)",
            ),
        ),
    ):
        loaded = configured(write_config, top, **keys)
        assert only(channels.notify(loaded, loaded.repos["app"])) == found
