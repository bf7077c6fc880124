"""Tests of the project's pipeline file: errors in it, precedence, rollbacks, ``post``, stages."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployctl.config.schema import REPO_KEYS, TOP_KEYS
from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.cli import Gate, finish, is_running
from tests.support.upstream import Upstream
from tests.support.workers import wait_until

FILE = ".deployctl.yml"
SECRET = "hunter2-hunter2"
CHECK = {"command": "! grep bad version", "deadline": 0.2, "interval": 0.1}


class Project(App):
    """An app whose repos.yml has no stages and no health check, but names a pipeline file."""

    def push_pipeline(self, version: str, **keys: Any) -> str:
        """Commit a version with these keys in its pipeline file, and return the sha."""
        return self.commit(yaml.safe_dump(keys or {"x-nothing": 1}), version)

    def commit(self, text: str, version: str = "1") -> str:
        return self.upstream.commit({FILE: text, "version": f"{version}\n"}, f"Version {version}")

    def configure(self, top: dict[str, Any] | None = None, **keys: Any) -> Path:
        bare = {"stages": None, "healthcheck": None, "pipeline_file": FILE}
        return super().configure(top, **{**bare, **keys})

    def plan(self) -> list[str]:
        """Return the lines of a dry run that name the source of their step."""
        done = self.cli("deploy", "app", "-n")
        assert done.code == 0, done
        return [line for line in done.stdout.splitlines() if line.endswith("]")]

    def stages(self, document: Mapping[str, Any]) -> dict[str, str]:
        return {stage["name"]: stage["status"] for stage in document["stages"]}

    @property
    def notes(self) -> list[str]:
        """The lines that steps have noted since this was read last."""
        path = self.directory / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def note(self, words: str) -> str:
        """Return a shell command that notes a line."""
        return f'echo "{words}" >> {self.directory}/notes'


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Project:
    return Project(tmp_path, upstream, write_config)


def roll_back(app: App, *words: str, code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = app.cli.json("rollback", "app", *words, code=code)
    return document


# ---- Bad input ------------------------------------------------------------------------------

YAML_ADVICE = "(look at the indentation, quotes and brackets)"
DEEP = f"{FILE}:1: nested deeper than 30 levels: does an alias contain itself?"
BOMB = "\n".join(
    ["x-0: &a0 [x]", *(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
)


def assert_refused(app: Project, message: str) -> None:
    """Check that a deployment fails before any stage runs, and a dry run, with this message."""
    dry = app.cli("deploy", "app", "-n")
    assert (dry.code, dry.stdout) == (2, "")
    assert dry.stderr.removeprefix("deployctl: ") == f"{message}\n"
    document = app.deploy(code=1)
    failure = document["failure"]
    assert (failure["stage"], failure["message"]) == ("prepare", message)
    assert (failure["step"], failure["command"], failure["tail"]) == (None, None, "")
    assert app.stages(document) == {"fetch": "succeeded", "prepare": "failed"}
    assert app.live == "good"
    assert [path.name[:2] for path in (app.path / "releases").iterdir()] == ["1-"]
    assert app.notes == []


@pytest.fixture
def good(app: Project) -> Project:
    app.push_pipeline("good")
    app.deploy()
    return app


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


def test_a_byte_order_mark_and_carriage_returns_are_accepted(app: Project) -> None:
    app.commit("\ufeffstages:\r\n- name: a\r\n  run: echo x\r\n")
    document = app.deploy()
    assert app.stages(document)["a"] == "succeeded"
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


def test_the_pipeline_file_is_read_from_the_deployed_directory(app: Project) -> None:
    app.configure(dir="web")
    app.upstream.commit(
        {FILE: "stages: 1", f"web/{FILE}": "restart: grep two index", "web/index": "one"}
    )
    assert app.deploy(code=1)["failure"]["command"] == "grep two index"
    app.upstream.commit({"web/index": "two"})
    assert app.deploy()["status"] == "succeeded"
    app.upstream.commit({f"web/{FILE}": None})
    assert f"has no web/{FILE}: commit one" in app.deploy(code=1)["failure"]["message"]


def test_a_wrong_env_file_fails_before_any_stage_runs(good: Project) -> None:
    place = good.directory / "app.env"
    place.write_text("A=1\nB C\n")
    place.chmod(0o600)
    good.configure(env_file=str(place))
    good.push_pipeline("2", stages=[{"name": "a", "run": good.note("ran")}])
    assert_refused(good, f"{place}:2: not a line of a dotenv file: wanted NAME=value")


# ---- Precedence -----------------------------------------------------------------------------

# A value of each key with this command, and the line of the plan for it.
BY_KEY: dict[str, tuple[Callable[[str], Any], str]] = {
    "stages": (lambda command: [{"name": "a", "run": command}], "stage a: {}"),
    "restart": (lambda command: command, "restart: {}"),
    "healthcheck": (lambda command: {"command": command}, "health check: {}"),
    "post": (lambda command: {"always": command}, "post always: {}"),
}


@pytest.mark.parametrize("key", BY_KEY)
def test_repos_yml_overrides_the_project_and_the_project_overrides_the_deployer(
    app: Project, key: str
) -> None:
    value, line = BY_KEY[key]
    own = {"own": {key: value("deployer")}} if key in ("stages", "restart") else {"own": {}}
    app.configure({"deployers": own}, deployer="own")
    app.push_pipeline("1")
    from_deployer = [f"{line.format('deployer')} [deployer own]"] if own["own"] else []
    assert app.plan() == from_deployer
    app.push_pipeline("2", **{key: value("project")})
    assert app.plan() == [f"{line.format('project')} [{FILE}]"]
    app.configure({"deployers": own}, deployer="own", **{key: value("server")})
    assert app.plan() == [f"{line.format('server')} [repos.yml]"]


def test_the_plan_of_a_rollback_names_the_source_of_on_rollback(app: Project) -> None:
    app.push_pipeline("1", on_rollback="project")
    app.deploy()
    app.push_pipeline("2")
    app.deploy()
    assert f"on_rollback: project [{FILE}]" in app.cli("rollback", "app", "-n").stdout
    app.configure(on_rollback="server")
    assert "on_rollback: server [repos.yml]" in app.cli("rollback", "app", "-n").stdout


def test_a_project_can_replace_the_stages_of_the_deployer_by_none(app: Project) -> None:
    app.configure(deployer="npm", restart=[])
    app.push_pipeline("1", stages=[], restart="false")
    assert app.stages(app.deploy()) == {
        "fetch": "succeeded",
        "prepare": "succeeded",
        "switch": "succeeded",
    }


def test_environment_variables_of_all_sources_are_merged_by_name(app: Project) -> None:
    place = app.directory / "app.env"
    place.write_text('B=file\nC=file\nexport D="f i l e"\n')
    place.chmod(0o600)
    app.configure(env_file=str(place), env={"C": "server"}, secrets={"E": SECRET})
    stage = {"name": "a", "run": app.note("$A $B $C $D ${#E} $F"), "env": {"F": "stage"}}
    app.push_pipeline(
        "1", env={"A": "own", "B": "own", "C": "own", "E": "own", "F": "own"}, stages=[stage]
    )
    app.deploy()
    assert app.notes == ["own file server f i l e 15 stage"]


# ---- Rollback -------------------------------------------------------------------------------


def noting_pipeline(app: Project, version: str) -> dict[str, Any]:
    """Return a pipeline whose commands note its version and the variables OWN and FILE."""
    words = f"{version} $OWN ${{FILE-}}"
    return {
        "env": {"OWN": f"own{version}"},
        "restart": app.note(f"restart {words}"),
        "on_rollback": app.note(f"on_rollback {words}"),
        "healthcheck": {"command": app.note(f"check {words}")},
    }


def test_a_rollback_runs_the_pipeline_of_the_old_release_with_its_environment(app: Project) -> None:
    place = app.directory / "app.env"
    app.configure(env_file=str(place), env={"TOP": "then"})
    for version in "12":
        place.write_text(f"FILE=file{version}\n")
        place.chmod(0o600)
        app.push_pipeline(version, **noting_pipeline(app, version))
        app.deploy()
    app.configure(pipeline_file="off", env={"TOP": "now"})
    place.unlink()
    assert app.notes[-1] == "check 2 own2 file2"
    document = roll_back(app)
    assert [*app.stages(document)] == ["prepare", "switch", "on_rollback", "restart", "healthcheck"]
    assert app.notes == [f"{what} 1 own1 file1" for what in ("on_rollback", "restart", "check")]
    app.configure(restart=app.note("restart by the server $TOP"))
    roll_back(app, "--to", "2")
    assert app.notes[1] == "restart by the server then"


def test_after_a_failed_health_check_the_pipeline_of_the_old_release_runs(app: Project) -> None:
    app.push_pipeline("1", **noting_pipeline(app, "1"))
    app.deploy()
    app.push_pipeline(
        "2", **{**noting_pipeline(app, "2"), "healthcheck": {"command": "false", "deadline": 0.2}}
    )
    assert app.notes
    document = app.deploy(code=3)
    assert app.notes == [
        "restart 2 own2 ",
        "on_rollback 1 own1 ",
        "restart 1 own1 ",
        "check 1 own1 ",
    ]
    assert [*app.stages(document)][-4:] == [
        "rollback",
        "rollback on_rollback",
        "rollback restart",
        "rollback healthcheck",
    ]


def test_if_on_rollback_fails_the_restart_runs_and_the_deployment_is_degraded(
    app: Project,
) -> None:
    app.push_pipeline("1", **{**noting_pipeline(app, "1"), "on_rollback": "echo no; exit 3"})
    app.deploy()
    app.push_pipeline("2", healthcheck={"command": "false", "deadline": 0.2, "interval": 0.1})
    assert app.notes
    document = app.deploy(code=4)
    assert document["status"] == "degraded"
    assert document["reason"] == (
        "going back failed too, in rollback on_rollback: step 1 failed: exit code 3"
    )
    assert app.notes == ["restart 1 own1 ", "check 1 own1 "]
    assert app.live == "1"


def test_a_pruned_release_is_rebuilt_with_the_pipeline_file_of_its_own_revision(
    app: Project,
) -> None:
    app.configure(keep_releases=2)
    for version in "1234":
        run = app.note(f"build {version} $DEPLOYCTL_TASK")
        fresh = {"name": "migrate", "run": app.note("migrate"), "when": {"task": "deploy"}}
        app.push_pipeline(version, stages=[{"name": "build", "run": run}, fresh])
        app.deploy()
    assert app.notes
    document = roll_back(app, "--to", "1")
    assert app.notes == ["build 1 rollback"]
    assert app.stages(document)["migrate"] == "skipped"
    assert "<== migrate: skipped: this is a rollback\n" in app.cli("logs", "app").stdout


# ---- Post -----------------------------------------------------------------------------------


def noting_post(app: Project, **keys: Any) -> dict[str, Any]:
    words = "$DEPLOYCTL_STATUS $(cat version)"
    names = ("failure", "always", "success")
    return {"post": {name: app.note(f"{name} {words}") for name in names}, **keys}


def test_post_runs_in_the_live_directory_and_gets_the_status(app: Project) -> None:
    app.push_pipeline("1", **noting_post(app))
    assert [*app.stages(app.deploy())][-1] == "post"
    assert app.notes == ["success succeeded 1", "always succeeded 1"]
    app.push_pipeline("2", **noting_post(app, restart="false"))
    app.deploy(code=3)
    assert app.notes == ["failure rolled_back 1", "always rolled_back 1"]
    app.push_pipeline("3", **noting_post(app, stages=[{"name": "a", "run": "false"}]))
    app.deploy(code=1)
    assert app.notes == ["failure failed 1", "always failed 1"]


def test_a_failure_in_post_does_not_change_the_outcome(app: Project) -> None:
    app.push_pipeline("1", post={"always": "exit 3"})
    done = app.cli("deploy", "app")
    assert done.code == 0
    assert (
        "warning: post: step 1 failed: exit code 3; the deployment is succeeded anyway\n"
        in done.stdout
    )
    document = app.cli.json("show", "1")
    assert document["status"] == "succeeded"
    assert "failure" not in document
    assert app.stages(document)["post"] == "failed"
    assert app.live == "1"


def test_after_a_wrong_pipeline_file_only_post_of_repos_yml_runs(good: Project) -> None:
    good.configure(post={"failure": good.note("server $DEPLOYCTL_STATUS")})
    good.commit("stagse: []\n")
    good.deploy(code=1)
    assert good.notes == ["server failed"]


def test_a_deployment_whose_process_dies_in_post_has_succeeded(app: Project) -> None:
    gate = Gate(app.directory)
    app.push_pipeline("1", post={"always": gate.command})
    process = app.cli.start("deploy", "app")
    pid = gate.wait()
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    assert app.cli("run").code == 0
    assert app.cli.json("show", "1")["status"] == "succeeded"
    assert (app.live, app.status["live"]["deployment"]) == ("1", 1)
    app.push_pipeline("2")
    app.deploy()
    assert not is_running(pid)


def test_a_failed_deployment_whose_process_dies_in_post_is_not_tried_again(app: Project) -> None:
    app.push_pipeline("1", healthcheck=CHECK)
    app.deploy()
    gate = Gate(app.directory)
    app.push_pipeline("bad", healthcheck=CHECK, post={"failure": gate.command})
    process = app.cli.start("deploy", "app")
    gate.wait()
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    assert app.cli("run").stdout == ""
    assert (app.cli.json("show", "2")["status"], app.live) == ("rolled_back", "1")
    assert app.status["hold"] is not None
    gate.open()


def test_a_deployment_cannot_be_cancelled_in_post(app: Project) -> None:
    gate = Gate(app.directory)
    app.push_pipeline("1", post={"success": gate.command})
    process = app.cli.start("deploy", "app")
    gate.wait()
    done = app.cli("cancel", "1")
    assert (done.code, "succeeded" in done.error) == (5, True)
    gate.open()
    assert finish(process).code == 0


def test_post_of_a_failed_rollback_gets_the_revision_that_failed(app: Project) -> None:
    app.push_pipeline("1")
    first = app.deploy()
    app.push_pipeline("2")
    app.deploy()
    command = app.note("$DEPLOYCTL_STATUS $DEPLOYCTL_REVISION")
    app.configure(restart="grep 2 version", post={"failure": command})
    app.cli("rollback", "app")
    assert app.notes == [f"rolled_back {first['revision']}"]


def test_all_steps_get_the_secret_value_that_was_read_when_the_deployment_began(
    app: Project,
) -> None:
    file = app.directory / "secret"
    file.write_text("first-value")
    file.chmod(0o600)
    app.configure(secrets={"S": f"file:{file}"})
    app.push_pipeline(
        "1", stages=[{"name": "a", "run": f"echo later-value > {file}"}], restart="echo $S"
    )
    done = app.cli("deploy", "app")
    assert "later-value" not in done.stdout.split("==> restart")[1]


# ---- Stages ---------------------------------------------------------------------------------


def test_a_rebuilt_release_runs_the_stages_of_the_branch_it_was_built_from(app: Project) -> None:
    app.configure(keep_releases=1)
    stages = [{"name": "build", "run": "touch built", "when": {"branch": "main"}}]
    first = app.push_pipeline("1", stages=stages)
    app.deploy()
    for version in ("2", "3", "4"):
        app.push_pipeline(version, stages=stages)
        app.deploy()
    roll_back(app, "--to", first)
    assert (app.live, (app.path / "current" / "built").exists()) == ("1", True)


def test_a_stage_can_depend_on_the_branch_and_on_changed_paths(app: Project) -> None:
    stages = [
        {"name": "branch", "run": "true", "when": {"branch": ["rel/*", "main"]}},
        {"name": "other", "run": "true", "when": {"branch": "rel/*"}},
        {"name": "paths", "run": "true", "when": {"paths": ["front/", "!*.md"]}},
    ]
    app.push_pipeline("1", stages=stages)
    first = app.stages(app.deploy())
    assert [first[name] for name in ("branch", "other", "paths")] == [
        "succeeded",
        "skipped",
        "succeeded",
    ]
    app.upstream.commit({"version": "2\n", "README.md": "x", "front/x.md": "x"})
    done = app.cli("deploy", "app")
    assert "<== other: skipped: main is not rel/*\n" in done.stdout
    assert "<== paths: skipped: nothing in front/, !*.md changed\n" in done.stdout
    app.upstream.commit({"front/x.js": "x"})
    assert app.stages(app.deploy())["paths"] == "succeeded"
    assert app.plan()[2] == f"stage paths (paths front/ or !*.md): true [{FILE}]"


def test_a_failed_step_with_retry_is_tried_again(app: Project) -> None:
    run = f"[ -e {app.directory}/flag ] || {{ touch {app.directory}/flag; exit 3; }}"
    app.push_pipeline("1", stages=[{"name": "flaky", "run": run, "retry": 2}])
    lines = app.cli("deploy", "app").stdout.splitlines()
    start = lines.index("==> flaky")
    assert lines[start + 1 : start + 4] == [
        f"$ {run}",
        "exit code 3; trying again in 1s (2 of 3)",
        f"$ {run}",
    ]
    steps = app.cli.json("show", "1")["stages"][2]["steps"]
    assert [step["exit_code"] for step in steps] == [3, 0]


def test_a_failed_stage_with_allow_failure_does_not_end_the_deployment(app: Project) -> None:
    lint = {"name": "lint", "run": "exit 3", "allow_failure": True}
    app.push_pipeline("1", stages=[lint, {"name": "build", "run": "true"}])
    document = app.deploy()
    assert document["status"] == "succeeded"
    assert "failure" not in document
    assert document["reason"] == "failed, as allow_failure lets it: lint"
    found = app.stages(document)
    assert (found["lint"], found["build"]) == ("failed", "succeeded")
    assert app.live == "1"


def test_output_of_parallel_steps_is_prefixed_and_masked(app: Project) -> None:
    app.configure(secrets={"TOKEN": SECRET})
    steps = ["echo slow $TOKEN; sleep 0.2", ["printf", "no end of line"], f"echo {SECRET}"]
    app.push_pipeline("1", stages=[{"name": "tests", "parallel": steps}])
    done = app.cli("deploy", "app")
    assert done.code == 0
    for line in ("[1] slow [hidden]", "[2] no end of line", "[3] [hidden]", "[3] $ echo [hidden]"):
        assert f"\n{line}\n" in done.stdout
    assert SECRET not in done.stdout + app.cli("logs", "app").stdout
    found = app.cli.json("show", "1")["stages"][2]["steps"]
    assert [step["command"] for step in found] == [
        "echo slow $TOKEN; sleep 0.2",
        "printf 'no end of line'",
        "echo [hidden]",
    ]


def test_the_first_parallel_step_that_fails_ends_the_others(app: Project) -> None:
    pid_file = app.directory / "pid"
    long = f"echo $$ > {pid_file}; sleep 60 & echo $! >> {pid_file}; wait"
    fails = f"until [ -s {pid_file} ]; do sleep 0.02; done; echo why; exit 3"
    app.push_pipeline("1", stages=[{"name": "tests", "parallel": [long, fails]}])
    failure = app.deploy(code=1)["failure"]
    assert (failure["step"], failure["message"]) == (2, "step 2 failed: exit code 3")
    assert failure["tail"] == "why"
    assert not [pid for pid in map(int, pid_file.read_text().split()) if is_running(pid)]


def test_ctrl_c_ends_all_parallel_steps(app: Project) -> None:
    gates = [Gate(app.directory, name) for name in ("a", "b")]
    app.push_pipeline("1", stages=[{"name": "tests", "parallel": [gate.command for gate in gates]}])
    process = app.cli.start("deploy", "app")
    pids = [gate.wait() for gate in gates]
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process).code == 130
    wait_until(lambda: not any(map(is_running, pids)))
    assert app.cli.json("show", "1")["status"] == "cancelled"
    assert app.live is None
