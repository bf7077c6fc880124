"""The README is correct: its two commands and its tables."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from deployctl import errors
from deployctl.values.deployment import EXIT_CODES
from tests.conftest import WriteConfig
from tests.support.cli import Cli, run_forked
from tests.support.paths import ROOT
from tests.support.readme import TEST, TEXT, TRY
from tests.support.service import Service
from tests.support.upstream import Upstream, git

GROUPS = ("delivery",)
TABLE = TEXT.partition("### Commands")[2].partition("Every command takes")[0]
# The environment before a fixture removes variables from it: pip needs some of them.
ENVIRONMENT = dict(os.environ)
HOME = Path.home()


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files of this tree that git does not ignore.

    Its path is short, so that it fits into the #! line of a script.
    """
    directory = tmp_path_factory.mktemp("clone")
    safe = ("-c", "safe.directory=*")
    listed = git(ROOT, *safe, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    git(directory, "init", "-q", "--initial-branch=main")
    git(directory, "add", "--all")
    git(directory, "commit", "-q", "-m", "As it stands")
    return directory


def run_in_clone(command: str, clone: Path) -> str:
    """Run a shell command in the clone and return its output.

    Assert that it succeeds and leaves no file of deployctl in the home directory.
    """
    foreign = ("DEPLOYCTL_", "GIT_", "PYTHON", "SSH_")
    kept = {name: value for name, value in ENVIRONMENT.items() if not name.startswith(foreign)}
    # pip uses the settings and the cache of the machine, and leaves the compiling to Python.
    pip = {"XDG_CONFIG_HOME": str(HOME / ".config"), "XDG_CACHE_HOME": str(HOME / ".cache")}
    pip["PIP_NO_COMPILE"] = "1"
    home = clone.with_name(f"{clone.name}-home")
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        capture_output=True,
        text=True,
        cwd=clone,
        env={**pip, **kept, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    assert not [*home.rglob("*deployctl*")]
    return done.stdout


def test_the_first_command_deploys_its_own_clone_twice_and_touches_nothing_else(
    clone: Path,
) -> None:
    revision = git(clone, "rev-parse", "--short=12", "HEAD")
    deployed = run_in_clone(TRY, clone).splitlines()
    assert [line for line in deployed if line.startswith("demo #") and "is live" in line] == [
        f"demo #1: {revision} is live",
        f"demo #2: {revision} is live",
    ]
    status, rollback = re.findall(r"`(\.venv/bin/deployctl \w[^`]*)`", TEXT)
    assert f"  live      {revision} As it stands (#2, " in run_in_clone(status, clone)
    assert run_in_clone(rollback, clone).splitlines()[-1] == f"demo #3: {revision} is live"
    run_in_clone(".venv/bin/deployctl deploy demo", clone)
    assert run_in_clone(".venv/bin/deployctl docs webhooks", clone).startswith("# Webhooks: ")
    assert git(clone, "status", "--porcelain") == ""
    assert_answers_a_request(clone / ".venv" / "bin" / "deploy.cgi", clone / "repos.yml")
    assert_deploy_cgi_runs_by_its_own_interpreter(clone, ".venv")
    # pip may take what it has built for the first installation.
    run_in_clone("python3 -m venv other && other/bin/pip install -q --no-deps .", clone)
    assert_deploy_cgi_runs_by_its_own_interpreter(clone, "other")


def assert_deploy_cgi_runs_by_its_own_interpreter(clone: Path, place: str) -> None:
    first = (clone / place / "bin" / "deploy.cgi").read_text().splitlines()[0]
    assert first.startswith(f"#!{clone}/{place}/bin/python")


def assert_answers_a_request(script: Path, config: Path) -> None:
    done = subprocess.run(
        [str(script)],
        check=True,
        capture_output=True,
        env={"REQUEST_METHOD": "GET", "DEPLOYCTL_CONFIG": str(config)},
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.startswith(b"Status: 405 ")


def test_continuous_integration_runs_the_second_command() -> None:
    script = ROOT / ".ci" / "run"
    assert TEST == "bash tests/run\n"
    assert script.read_text().splitlines()[-1] == f"exec {TEST.strip()}"
    assert os.access(script, os.X_OK)


def test_the_test_script_installs_the_programs_in_the_readme_and_starts_none() -> None:
    script = (ROOT / "tests" / "run").read_text()
    assert "missing (nginx, fcgiwrap and sshd, with apt" in TEXT
    assert {"nginx", "fcgiwrap", "sshd"} <= set(re.findall(r"\[(\w+)\]=", script))
    assert "policy-rc.d" in script


def test_the_status_at_the_top_is_what_the_command_prints(
    tmp_path: Path, upstream: Upstream, write_config: WriteConfig
) -> None:
    service = Service(tmp_path / "blog" / "shared" / "run")
    config = write_config(
        {
            "blog": {
                "shared_dirs": ["run"],
                "restart": "./app.sh",
                "env": {"PORT": service.port},
                "healthcheck": {"url": service.ping, "deadline": 3, "interval": 0.1},
            }
        }
    )
    cli = Cli(tmp_path, config)
    codes = []
    try:
        for version in ("1", "2", "bad"):
            upstream.commit(Service.files(version), "Fix the header")
            codes.append(cli("deploy", "blog").code)
    finally:
        service.stop()
    assert codes == [0, 0, 3]
    sample = TEXT.partition("$ deployctl status\n")[2].partition("```")[0]
    assert shape(sample) == shape(cli("status").stdout)


def shape(text: str) -> str:
    """Replace what differs between deployments (shas, numbers, times) and collapse white space."""
    patterns = {
        r"\s+": " ",
        r"\b[0-9a-f]{12}\b": "SHA",
        r"#\d+": "#N",
        r"just now|\b\d[\dhms. ]* ago": "AGO",
        r"127\.0\.0\.1:\d+": "SERVER",
        r"\d+ tries in [\d.]+s": "TRIES",
    }
    for pattern, name in patterns.items():
        text = re.sub(pattern, name, text)
    return text


def test_steps_get_the_variables_that_the_readme_names(
    tmp_path: Path, upstream: Upstream, write_config: WriteConfig
) -> None:
    named = TEXT.partition("- Steps see ")[2].partition(", and what")[0]
    first, *names = re.findall(r"`([A-Z_]+)(?:=true)?`", named)
    assert names.pop() == "CI"
    stages = [{"name": "look", "run": f"env >{tmp_path}/env"}]
    Cli(tmp_path, write_config({"app": {"stages": stages}}))("deploy", "app")
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert seen["CI"] == "true"
    assert {first, *(f"DEPLOYCTL{name}" for name in names)} <= set(seen)


def test_the_table_has_every_command_and_no_other(helps: Mapping[str, str]) -> None:
    assert sorted(re.findall(r"`deployctl (\w+)", TABLE)) == sorted(helps)


def test_the_options_in_the_table_exist(helps: Mapping[str, str]) -> None:
    for row in TABLE.splitlines():
        commands = re.findall(r"`deployctl (\w+)", row)
        for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", row):
            assert any(has(helps[command], option) for command in commands), (row, option)


def test_every_command_takes_the_options_that_the_readme_names_for_all(
    helps: Mapping[str, str],
) -> None:
    for command, text in helps.items():
        assert has(text, "-c")
        assert has(text, "-h")
        assert has(text, "--json") == (command not in {"receive", *GROUPS})


@pytest.mark.parametrize("command", GROUPS)
def test_every_command_of_a_group_takes_json(command: str) -> None:
    text = help_of(command)
    names = re.findall(r"(?m)^  ([a-z]+) ", text.partition("Commands:\n")[2])
    assert len(names) > 2
    for name in names:
        assert has(help_of(command, name), "--json")


def test_every_command_that_is_shown_exists(helps: Mapping[str, str]) -> None:
    shown = re.findall(r"(?m)(?:[`/ ]deployctl|^deployctl) ([a-z]+)", "\n".join(code_of(TEXT)))
    assert set(shown) <= set(helps)
    assert len(shown) > 20


def code_of(text: str) -> list[str]:
    """Return the text in code fences and between backticks."""
    fenced = re.findall(r"(?ms)^```\w*\n(.*?)^```$", text)
    plain = re.sub(r"(?ms)^```.*?^```$", "", text)
    return [*fenced, *(f"`{code}`" for code in re.findall(r"`([^`]+)`", plain))]


def has(text: str, option: str) -> bool:
    return re.search(rf"(?m)^  .*(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """The output of ``--help`` of each command."""
    overview = help_of()
    commands = overview.partition("Commands:\n")[2]
    return {name: help_of(name) for name in re.findall(r"(?m)^  (\w+)", commands)}


def help_of(*words: str) -> str:
    done = run_forked([*words, "--help"], ROOT)
    assert done.code == 0, done
    return done.stdout


def test_the_exit_codes_in_the_readme_are_those_of_the_code() -> None:
    listed = TEXT.partition("Exit codes: ")[2].partition(". With several")[0]
    meanings = {
        int(code): meaning
        for code, meaning in (entry.split(maxsplit=1) for entry in listed.split("·"))
    }
    words = {
        EXIT_CODES["succeeded"]: "done",
        EXIT_CODES["failed"]: "failed",
        EXIT_CODES["rolled_back"]: "rolled back",
        EXIT_CODES["degraded"]: "degraded",
        errors.UsageError.exit_code: "wrong usage",
        errors.ConfigError.exit_code: "config",
        errors.RefusedError.exit_code: "refused",
        errors.BusyError.exit_code: "busy",
        70: "bug",
        130: "interrupted",
    }
    assert set(meanings) == set(words)
    assert errors.ConfigError.exit_code == errors.UsageError.exit_code
    assert all(word in meanings[code] for code, word in words.items())


def test_the_help_lists_the_same_exit_codes() -> None:
    listed = TEXT.partition("Exit codes: ")[2].partition(". With several")[0]
    shown = help_of().partition("Exit codes:\n")[2].partition("\n\n")[0]
    assert re.findall(r"(?m)^ +(\d+) ", shown) == re.findall(r"(?:^|· ?\n?)(\d+) ", listed)
