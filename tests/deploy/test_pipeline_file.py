"""The project's pipeline file: what is refused, and which source of a key counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deployctl.config.schema import REPO_KEYS, TOP_KEYS
from tests.support.pipelines import FILE, Project

SECRET = "hunter2-hunter2"
CHECK = {"command": "! grep bad version", "deadline": 2, "interval": 1, "stable_for": 0}
YAML_ADVICE = "(look at the indentation, quotes and brackets)"
DEEP = f"{FILE}:1: nested deeper than 30 levels: does an alias contain itself?"
BOMB = "\n".join(
    ["x-0: &a0 [x]", *(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
)


def assert_refused(project: Project, message: str) -> None:
    """Check that a deployment fails before any stage runs, and a dry run, with this message."""
    dry = project.cli("deploy", "app", "-n")
    assert (dry.code, dry.stdout) == (2, "")
    assert dry.stderr.removeprefix("deployctl: ") == f"{message}\n"
    document = project.deploy(code=1)
    failure = document["failure"]
    assert (failure["stage"], failure["message"]) == ("prepare", message)
    assert (failure["step"], failure["command"], failure["tail"]) == (None, None, "")
    assert project.stages(document) == {"fetch": "succeeded", "prepare": "failed"}
    assert project.live == "good"
    assert [path.name[:2] for path in (project.path / "releases").iterdir()] == ["1-"]
    assert project.notes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages:\n  - {name: a, run: b\n", None),
        ("restart: x\nstagse: []\n", f"{FILE}:2: stagse: unknown key, did you mean stages?"),
        (
            "stages:\n  - name: a\n    rnu: b\n",
            (
                f"{FILE}:2: stages[0]: missing key run: the command or commands to run\n"
                f"{FILE}:3: stages[0].rnu: unknown key, did you mean run?"
            ),
        ),
        (
            "stages:\n- {name: a, run: b}\n- {name: b, run: []}\n",
            f"{FILE}:3: stages[1].run: an empty list: write a command, or remove the key",
        ),
        (
            "stages: [{name: a, run: b, dir: ../../..}]",
            f"{FILE}:1: stages[0].dir: must be relative, without ..: it is inside the release",
        ),
        (
            "healthcheck: {url: http://169.254.169.254/}",
            (
                f"{FILE}:1: healthcheck.url: a link-local address (169.254.0.0/16, fe80::/10): "
                "name the service itself"
            ),
        ),
        ("", f"{FILE}:1: empty: write at least stages, see deployctl docs pipeline"),
        ("# later\n", f"{FILE}:1: empty: write at least stages, see deployctl docs pipeline"),
        ("[a]", f"{FILE}:1: wanted a mapping with the key stages at the top, found a list"),
        ("[" * 1000 + "]" * 1000, DEEP),
        ("stages: &a [*a]", DEEP),
        (BOMB, None),
    ],
)
def test_a_wrong_pipeline_file_fails_before_any_stage_runs(
    good: Project, text: str, message: str | None
) -> None:
    good.commit(text)
    if message is None:
        message = good.cli("deploy", "app", "-n").error
        assert message.startswith(f"{FILE}:")
        assert message.endswith((YAML_ADVICE, "values once all aliases are spelled out: use fewer"))
    assert_refused(good, message)


@pytest.mark.parametrize("data", [b"# caf\xe9\n", b"\0\1\2\xff" * 100, b"\xff\xfea\0"])
def test_a_pipeline_file_that_is_not_utf_8_is_refused(good: Project, data: bytes) -> None:
    (good.upstream.work / FILE).write_bytes(data)
    good.upstream.commit({"version": "2\n"})
    assert_refused(good, f"{FILE}:1: not UTF-8: save the file as UTF-8")


def test_a_control_character_is_named_by_its_code_point(good: Project) -> None:
    good.commit("restart: a\n# \x1b[2J\n")
    assert_refused(good, f"{FILE}:2: the control character U+001B: remove it")


def test_a_byte_order_mark_and_carriage_returns_are_accepted(project: Project) -> None:
    project.commit("\ufeffstages:\r\n- name: a\r\n  run: echo x\r\n")
    document = project.deploy()
    assert project.stages(document)["a"] == "succeeded"
    assert document["stages"][2]["steps"][0]["command"] == "echo x"


def test_each_key_that_only_repos_yml_may_have_is_refused_by_name(good: Project) -> None:
    own = {"stages", "restart", "healthcheck", "on_rollback", "post", "cache", "env"}
    others = sorted({*REPO_KEYS, *TOP_KEYS, "hosts", "user"} - own)
    good.commit("".join(f"{key}: x\n" for key in others))
    advice = "only repos.yml on the server may say this: remove it here"
    lines = [f"{FILE}:{line}: {key}: {advice}" for line, key in enumerate(others, 1)]
    assert {"secrets", "notify", "channels", "path", "url", "env_file"} < {*others}
    assert_refused(good, "\n".join(lines))


def test_a_pipeline_file_of_100_megabytes_is_not_read(good: Project) -> None:
    (good.upstream.work / FILE).write_bytes(b"#" * 100_000_000)
    revision = good.upstream.commit({"version": "2\n"})
    assert_refused(good, f"{FILE} in {revision[:12]} is larger than 1024 KiB: make it shorter")


@pytest.mark.parametrize("kind", ["a symlink", "a directory"])
def test_a_symlink_or_directory_in_place_of_the_pipeline_file_is_refused(
    good: Project, kind: str
) -> None:
    place = good.upstream.work / FILE
    place.unlink()
    if kind == "a symlink":
        target = good.directory / "secret.yml"
        target.write_text("restart: 'true'\n")
        place.symlink_to(target)
    else:
        place.mkdir()
        (place / "x.yml").touch()
    revision = good.upstream.commit({"version": "2\n"})
    assert_refused(good, f"{FILE} in {revision[:12]} is {kind}: commit a file there")


def test_a_missing_pipeline_file_fails_unless_it_is_switched_off(good: Project) -> None:
    revision = good.upstream.commit({FILE: None, "version": "2\n"})
    advice = "commit one, or say pipeline_file: off for app in repos.yml"
    assert_refused(good, f"{revision[:12]} has no {FILE}: {advice}")
    good.configure(pipeline_file="off", top={"defaults": {"pipeline_file": FILE}})
    assert good.deploy()["status"] == "succeeded"


def test_the_pipeline_file_is_read_from_the_deployed_directory(project: Project) -> None:
    project.configure(dir="web")
    project.upstream.commit(
        {FILE: "stages: 1", f"web/{FILE}": "restart: grep two index", "web/index": "one"}
    )
    assert project.deploy(code=1)["failure"]["command"] == "grep two index"
    project.upstream.commit({"web/index": "two"})
    assert project.deploy()["status"] == "succeeded"
    project.upstream.commit({f"web/{FILE}": None})
    assert f"has no web/{FILE}: commit one" in project.deploy(code=1)["failure"]["message"]


def test_a_wrong_env_file_fails_before_any_stage_runs(good: Project) -> None:
    place = good.directory / "app.env"
    place.write_text("A=1\nB C\n")
    place.chmod(0o600)
    good.configure(env_file=str(place))
    good.push_pipeline("2", stages=[{"name": "a", "run": good.note("ran")}])
    assert_refused(good, f"{place}:2: not a line of a dotenv file: wanted NAME=value")


# A value of each key with this command, and the line of the plan for it.
BY_KEY: dict[str, tuple[Callable[[str], Any], str]] = {
    "stages": (lambda command: [{"name": "a", "run": command}], "stage a: {}"),
    "restart": (lambda command: command, "restart: {}"),
    "healthcheck": (lambda command: {"command": command}, "health check: {}"),
    "post": (lambda command: {"always": command}, "post always: {}"),
}


@pytest.mark.parametrize("key", BY_KEY)
def test_repos_yml_overrides_the_project_and_the_project_overrides_the_deployer(
    project: Project, key: str
) -> None:
    value, line = BY_KEY[key]
    own = {"own": {key: value("deployer")}} if key in ("stages", "restart") else {"own": {}}
    project.configure({"deployers": own}, deployer="own")
    project.push_pipeline("1")
    from_deployer = [f"{line.format('deployer')} [deployer own]"] if own["own"] else []
    assert project.plan() == from_deployer
    project.push_pipeline("2", **{key: value("project")})
    assert project.plan() == [f"{line.format('project')} [{FILE}]"]
    project.configure({"deployers": own}, deployer="own", **{key: value("server")})
    assert project.plan() == [f"{line.format('server')} [repos.yml]"]


def test_the_plan_of_a_rollback_names_the_source_of_on_rollback(project: Project) -> None:
    project.push_pipeline("1", on_rollback="project")
    project.deploy()
    project.push_pipeline("2")
    project.deploy()
    assert f"on_rollback: project [{FILE}]" in project.cli("rollback", "app", "-n").stdout
    project.configure(on_rollback="server")
    assert "on_rollback: server [repos.yml]" in project.cli("rollback", "app", "-n").stdout


def test_a_project_can_replace_the_stages_of_the_deployer_by_none(project: Project) -> None:
    project.configure(deployer="npm", restart=[])
    project.push_pipeline("1", stages=[], restart="false")
    assert project.stages(project.deploy()) == {
        "fetch": "succeeded",
        "prepare": "succeeded",
        "switch": "succeeded",
    }


def test_environment_variables_of_all_sources_are_merged_by_name(project: Project) -> None:
    place = project.directory / "app.env"
    place.write_text('B=file\nC=file\nexport D="f i l e"\n')
    place.chmod(0o600)
    project.configure(env_file=str(place), env={"C": "server"}, secrets={"E": SECRET})
    stage = {"name": "a", "run": project.note("$A $B $C $D ${#E} $F"), "env": {"F": "stage"}}
    project.push_pipeline(
        "1", env={"A": "own", "B": "own", "C": "own", "E": "own", "F": "own"}, stages=[stage]
    )
    project.deploy()
    assert project.notes == ["own file server f i l e 15 stage"]
