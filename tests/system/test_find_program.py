"""Tests of the advice for a program that a step did not find on its PATH."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployctl.system.environment import PATH
from deployctl.system.find_program import missing_program, missing_program_advice
from tests.support.app import App


def put_program(directory: Path, name: str = "toolx") -> str:
    directory.mkdir(parents=True)
    (directory / name).write_text("#!/bin/sh\n")
    (directory / name).chmod(0o755)
    return str(directory)


@pytest.mark.parametrize(
    ("command", "tail", "program"),
    [
        (("npm", "ci"), "", "npm"),
        ("cd x && npm ci", "/bin/sh: 1: npm: not found", "npm"),
        ("npm ci", "sh: line 3: node: command not found\n", "node"),
        ("npm ci", "a\n/bin/sh: npm: not found\n", "npm"),
        ("npm ci", "/usr/bin/env: \u2018node\u2019: No such file or directory", "node"),
        ("npm ci", "env: 'node': No such file or directory", "node"),
        ("./build", "sh: 1: ./build: not found", None),
        ("npm ci", "the page was not found here", "npm"),
    ],
)
def test_the_last_not_found_message_names_the_program(
    command: str | tuple[str, ...], tail: str, program: str | None
) -> None:
    assert missing_program(command, tail) == program


@pytest.mark.parametrize("run", ["true; toolx ci", ["toolx", "ci"]])
@pytest.mark.parametrize("limits", [{}, {"nice": 5}])
def test_the_failure_of_a_step_says_where_the_missing_program_is(
    app: App, run: Any, limits: dict[str, Any]
) -> None:
    home = app.directory / "home of deploy"
    for version in ("v9.11.2", "v20.1.0", "v20.1.0-rc.1/lib"):
        directory = home / ".nvm/versions/node" / version / "bin"
        put_program(directory)
    newest = home / ".nvm/versions/node/v20.1.0/bin"
    app.configure(stages=[{"name": "build", "run": run}], env={"HOME": str(home)}, **limits)
    app.push("1")
    failure = app.deploy(code=1)["failure"]
    assert failure["message"] == (
        f"step 1 failed: exit code 127: command not found (PATH was {PATH}); "
        f'toolx is in {newest}: set env: {{PATH: "{PATH}:{newest}"}}'
    )
    path = {"HOME": str(home), "PATH": f"{PATH}:{newest}"}
    app.configure(stages=[{"name": "build", "run": run}], env=path, **limits)
    assert app.deploy()["status"] == "succeeded"


def test_for_a_program_of_the_project_its_relative_path_is_advised(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home"), "PATH": "/bin"}
    put_program(tmp_path / "home/.local/bin")
    put_program(tmp_path / "release/node_modules/.bin")
    assert missing_program_advice("toolx", env, str(tmp_path / "release")) == (
        "toolx is in node_modules/.bin: call it node_modules/.bin/toolx"
    )
    assert missing_program_advice("tooly", env, str(tmp_path / "release")) is None


def test_deployctl_check_searches_the_same_directories(app: App) -> None:
    home = app.directory / "home2"
    place = put_program(home / ".cargo/bin")
    app.configure(restart="toolx now", env={"HOME": str(home)})
    (finding,) = (
        finding
        for finding in app.cli.json("check", code=0)["findings"]
        if finding["check"] == "programs" and finding["repo"] == "app"
    )
    assert finding["message"] == f"toolx is not on the PATH of the steps: {PATH}"
    assert finding["fix"] == f'toolx is in {place}: set env: {{PATH: "{PATH}:{place}"}}'
