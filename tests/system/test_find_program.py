"""Where a program is that a step did not find, and what to write so that it is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployctl.system.environment import PATH
from deployctl.system.find_program import advice, missing_program
from tests.support.app import App


def put(directory: Path, name: str = "toolx") -> str:
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
def test_the_last_word_of_whoever_looked_for_it_names_the_program(
    command: str | tuple[str, ...], tail: str, program: str | None
) -> None:
    assert missing_program(command, tail) == program


@pytest.mark.parametrize("run", ["true; toolx ci", ["toolx", "ci"]])
@pytest.mark.parametrize("limits", [{}, {"nice": 5}])
def test_a_step_that_finds_no_program_is_told_where_it_is(
    app: App, run: Any, limits: dict[str, Any]
) -> None:
    home = app.directory / "home of deploy"
    for version in ("v9.11.2", "v20.1.0", "v20.1.0-rc.1/lib"):
        found = home / ".nvm/versions/node" / version / "bin"
        put(found)
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


def test_a_program_of_the_project_itself_is_called_by_its_path(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home"), "PATH": "/bin"}
    put(tmp_path / "home/.local/bin")
    put(tmp_path / "release/node_modules/.bin")
    assert advice("toolx", env, str(tmp_path / "release")) == (
        "toolx is in node_modules/.bin: call it node_modules/.bin/toolx"
    )
    assert advice("tooly", env, str(tmp_path / "release")) is None


def test_check_looks_in_the_same_places(app: App) -> None:
    home = app.directory / "home2"
    place = put(home / ".cargo/bin")
    app.configure(restart="toolx now", env={"HOME": str(home)})
    (found,) = (
        each
        for each in app.cli.json("check", code=0)["findings"]
        if each["check"] == "programs" and each["repo"] == "app"
    )
    assert found["message"] == f"toolx is not on the PATH of the steps: {PATH}"
    assert found["fix"] == f'toolx is in {place}: set env: {{PATH: "{PATH}:{place}"}}'
