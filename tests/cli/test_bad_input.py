"""Wrong input: one line says what is wrong, where, and what to do; what was live stays live."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployctl.system.environment import PATH
from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.upstream import Upstream


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> App:
    app = App(tmp_path, upstream, write_config)
    app.release("1")
    return app


def failure_in(app: App, stage: str) -> str:
    """Deploy, assert that it fails in this stage and changes nothing, and return the message."""
    before = [path.name for path in (app.path / "releases").iterdir()]
    done = app.cli("deploy", "app", "--json")
    assert done.code == 1
    assert done.json["status"] == "failed"
    assert "Traceback" not in done.stderr
    assert app.live == "1"
    assert [path.name for path in (app.path / "releases").iterdir()] == before
    failure = done.json["failure"]
    assert failure["stage"] == stage
    message: str = failure["message"]
    assert "\n" not in message
    assert f"<== {stage}: failed, " in done.stderr
    assert message in done.stderr
    return message


def refusal_of(app: App, code: int, *words: str) -> str:
    """Run a command, assert that it queues no deployment, and return the message."""
    count = app.cli.count()
    done = app.cli(*words)
    assert (done.code, done.stdout) == (code, "")
    assert app.cli.count() == count
    assert app.live == "1"
    return done.error


def test_an_unknown_repo(app: App) -> None:
    known = "(there are: app)"
    message = refusal_of(app, 2, "deploy", "blog")
    assert message == f"no repo blog in {app.cli.config} {known}"
    assert refusal_of(app, 2, "deploy", "app", "aap").endswith(f", did you mean app? {known}")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("url:", "ulr:"), "repos.app.ulr: unknown key"),
        (lambda text: text + "x: [\n", ""),
        (lambda _: "", ""),
    ],
    ids=["unknown key", "no YAML", "empty"],
)
def test_a_config_that_cannot_be_used(
    app: App, change: Callable[[str], str], complaint: str
) -> None:
    good = app.cli.config.read_text()
    app.cli.config.write_text(change(good))
    for words in (("deploy", "app"), ("status",), ("run",), ("history",)):
        done = app.cli(*words)
        assert (done.code, done.stdout) == (2, "")
        assert complaint in done.stderr
        lines = [line.removeprefix("deployctl: ") for line in done.stderr.splitlines()]
        assert all(line.startswith(f"{app.cli.config}:") for line in lines)
    assert app.live == "1"
    app.cli.config.write_text(good)
    assert app.cli.count() == 1


def test_a_config_that_does_not_exist(app: App) -> None:
    app.cli.config.unlink()
    done = app.cli("status")
    assert (done.code, done.error) == (
        2,
        f"--config {app.cli.config}: No such file or directory: name a repos.yml that exists",
    )


def test_a_secret_file_that_cannot_be_read(app: App) -> None:
    path = app.directory / "gone.secret"
    app.configure(secrets={"TOKEN": f"file:{path}"})
    message = refusal_of(app, 2, "deploy", "app")
    assert str(path) in message
    assert "No such file or directory" in message
    assert app.cli("status").code == 0, "commands that only read need no secret"


def test_a_secret_variable_that_is_not_set(app: App) -> None:
    app.configure(secrets={"TOKEN": "env:NO_SUCH_VARIABLE"})
    assert "NO_SUCH_VARIABLE" in refusal_of(app, 2, "deploy", "app")


def test_a_path_that_cannot_be_made(app: App) -> None:
    (app.directory / "file").write_text("")
    path = app.directory / "file" / "app"
    app.configure(path=str(path))
    done = app.cli("deploy", "app", "--json")
    assert done.code == 1
    assert done.json["failure"]["message"] == (
        f"cannot create {path}: Not a directory; let this account write there "
        f"(sudo install -d -o $(id -un) {path}), or set path of app"
    )


def test_a_state_directory_that_cannot_be_made(app: App) -> None:
    (app.directory / "file").write_text("")
    app.configure(top={"state_dir": str(app.directory / "file" / "state")})
    done = app.cli("deploy", "app")
    assert done.code == 1
    assert done.error.startswith(f"cannot open the record: {app.directory}/file")
    assert done.error.endswith("; state_dir in repos.yml says where it is")
    assert app.live == "1"


def test_a_record_that_is_not_a_database(app: App) -> None:
    (app.state / "deployctl.db").write_text("this is no database, and long enough to have a header")
    for words in (("status",), ("deploy", "app")):
        done = app.cli(*words)
        assert done.code == 1
        assert done.error == (
            f"cannot open the record: {app.state}/deployctl.db: file is not a database; "
            "state_dir in repos.yml says where it is"
        )


def test_a_branch_that_does_not_exist(app: App) -> None:
    app.configure(branch="mian")
    assert failure_in(app, "fetch") == (
        f"{app.upstream.url} has no branch mian: push it, or set branch of app in repos.yml"
    )


def test_a_remote_that_does_not_exist(app: App) -> None:
    app.configure(url=str(app.directory / "gone.git"))
    message = failure_in(app, "fetch")
    assert message.startswith(f"cannot fetch refs/heads/main from {app.directory}/gone.git: ")
    assert "; check url" in message


def test_a_remote_that_never_answers(app: App) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/app.git"
        app.configure(url=url, fetch_timeout=1)
        began = time.monotonic()
        message = failure_in(app, "fetch")
        assert time.monotonic() - began < 10
    assert message == (
        f"cannot fetch refs/heads/main from {url}: not finished within 1s; is the remote "
        "reachable, and fetch_timeout long enough?"
    )


def test_a_command_that_is_not_installed(app: App) -> None:
    app.configure(stages=[{"name": "build", "run": "npmm ci"}])
    assert failure_in(app, "build") == (
        f"step 1 failed: exit code 127: command not found (PATH was {PATH})"
    )


def test_a_stage_in_a_directory_that_does_not_exist(app: App) -> None:
    app.configure(stages=[{"name": "build", "run": "true", "dir": "frontend"}])
    assert "frontend" in failure_in(app, "build")


def test_a_directory_in_the_place_of_the_symlink_current(app: App) -> None:
    current = app.path / "current"
    target = os.readlink(current)
    current.unlink()
    current.mkdir()
    (current / "version").write_text("by hand\n")
    done = app.cli("deploy", "app", "--json")
    assert done.code == 1
    assert done.json["failure"]["message"] == (
        f"{current} is not a symlink, so it cannot be switched: move it away "
        f"(mv {current} {current}.old), then deploy again"
    )
    assert (current / "version").read_text() == "by hand\n"
    assert app.cli("status").code == 0
    current.rename(app.path / "current.old")
    assert app.deploy()["status"] == "succeeded"
    assert (app.path / target).is_dir()


def test_a_path_in_place_that_holds_something_else(app: App) -> None:
    app.configure(strategy="in_place", path=str(app.directory / "site"))
    (app.directory / "site").mkdir()
    (app.directory / "site" / "index.html").write_text("mine")
    document: dict[str, Any] = app.deploy(code=1)
    assert document["failure"]["message"] == (
        f"{app.directory}/site is not empty and not a git checkout: move it away, or make it a "
        "clone of the repo first"
    )
    assert (app.directory / "site" / "index.html").read_text() == "mine"


def test_a_path_with_releases_is_not_turned_into_a_checkout(app: App) -> None:
    app.configure(strategy="in_place")
    document: dict[str, Any] = app.deploy(code=1)
    assert document["failure"]["message"].startswith(f"{app.path} holds releases: ")
    assert (app.path / "current" / "version").read_text() == "1\n"


@pytest.mark.parametrize(
    "words",
    [
        ("rollback",),
        ("lock", "app"),
        ("cancel",),
        ("notify",),
        ("show",),
        ("history", "-n", "many"),
        ("status", "app", "blog"),
    ],
)
def test_wrong_arguments_are_refused_with_a_pointer_to_the_help(
    app: App, words: tuple[str, ...]
) -> None:
    assert refusal_of(app, 2, *words).endswith(f"(see: deployctl {words[0]} --help)")


def test_an_empty_name_of_a_config_is_refused_before_and_after_the_command(app: App) -> None:
    program = app.cli.argv()[:-2]
    before, after = (
        subprocess.run(
            [*program, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=app.directory,
            env=app.cli.env,
        )
        for words in (["-c", "", "status"], ["status", "-c", ""])
    )
    assert (before.returncode, before.stderr) == (2, after.stderr)
    assert (after.returncode, after.stdout) == (2, "")
