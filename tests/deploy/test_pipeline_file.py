"""The pipeline that a project carries itself: who may say what, and what a bad file does."""

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
    """An app whose repos.yml says nothing of how it is built."""

    def say(self, version: str, **keys: Any) -> str:
        """Push a version with this pipeline file."""
        return self.commit(yaml.safe_dump(keys or {"x-nothing": 1}), version)

    def commit(self, text: str, version: str = "1") -> str:
        return self.upstream.commit({FILE: text, "version": f"{version}\n"}, f"Version {version}")

    def configure(self, top: dict[str, Any] | None = None, **keys: Any) -> Path:
        bare = {"stages": None, "healthcheck": None, "pipeline_file": FILE}
        return super().configure(top, **{**bare, **keys})

    def plan(self) -> list[str]:
        """What a dry run shows that somebody has said."""
        done = self.cli("deploy", "app", "-n")
        assert done.code == 0, done
        return [line for line in done.stdout.splitlines() if line.endswith("]")]

    def stages(self, document: Mapping[str, Any]) -> dict[str, str]:
        return {stage["name"]: stage["status"] for stage in document["stages"]}

    @property
    def told(self) -> list[str]:
        """What steps wrote down, a line each."""
        notes = self.directory / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines

    def tell(self, words: str) -> str:
        """A command that writes words down."""
        return f'echo "{words}" >> {self.directory}/notes'


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Project:
    return Project(tmp_path, upstream, write_config)


def back(app: App, *words: str, code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = app.cli.json("rollback", "app", *words, code=code)
    return document


# ---- Bad input ------------------------------------------------------------------------------

LOOK = "(look at the indentation, quotes and brackets)"
DEEP = f"{FILE}:1: nested deeper than 30 levels: does an alias contain itself?"
BOMB = "\n".join(
    ["x-0: &a0 [x]", *(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
)


def refused(app: Project, message: str) -> None:
    """The deployment fails before anything runs, and a dry run says the same."""
    dry = app.cli("deploy", "app", "-n")
    assert (dry.code, dry.stdout) == (2, "")
    assert dry.stderr.removeprefix("deployctl: ") == f"{message}\n"
    document = app.deploy(code=1)
    failure = document["failure"]
    assert (failure["stage"], failure["message"]) == ("prepare", message)
    assert (failure["step"], failure["command"], failure["tail"]) == (None, None, "")
    assert app.stages(document) == {"fetch": "succeeded", "prepare": "failed"}
    assert app.live == "good"
    assert [each.name[:2] for each in (app.path / "releases").iterdir()] == ["1-"]
    assert app.told == []


@pytest.fixture
def good(app: Project) -> Project:
    app.say("good")
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
def test_a_bad_file_fails_before_anything_runs(
    good: Project, text: str, message: str | None
) -> None:
    good.commit(text)
    if message is None:
        message = good.cli("deploy", "app", "-n").error
        assert message.startswith(f"{FILE}:")
        assert message.endswith((LOOK, "values once all aliases are spelled out: use fewer"))
    refused(good, message)


@pytest.mark.parametrize("data", [b"# caf\xe9\n", b"\0\1\2\xff" * 100, b"\xff\xfea\0"])
def test_a_file_that_is_no_text_is_told_so(good: Project, data: bytes) -> None:
    (good.upstream.work / FILE).write_bytes(data)
    good.upstream.commit({"version": "2\n"})
    refused(good, f"{FILE}:1: not UTF-8: save the file as UTF-8")


def test_control_characters_are_told_by_their_number(good: Project) -> None:
    good.commit("restart: a\n# \x1b[2J\n")
    refused(good, f"{FILE}:2: the control character U+001B: remove it")


def test_a_byte_order_mark_and_carriage_returns_do_no_harm(app: Project) -> None:
    app.commit("\ufeffstages:\r\n- name: a\r\n  run: echo x\r\n")
    document = app.deploy()
    assert app.stages(document)["a"] == "succeeded"
    assert document["stages"][2]["steps"][0]["command"] == "echo x"


def test_every_key_that_is_the_servers_is_refused_by_its_name(good: Project) -> None:
    own = {"stages", "restart", "healthcheck", "on_rollback", "post", "cache", "env"}
    others = sorted({*REPO_KEYS, *TOP_KEYS, "hosts", "user"} - own)
    good.commit("".join(f"{key}: x\n" for key in others))
    word = "only repos.yml on the server may say this: remove it here"
    lines = [f"{FILE}:{line}: {key}: {word}" for line, key in enumerate(others, 1)]
    assert {"secrets", "notify", "channels", "path", "url", "env_file"} < {*others}
    refused(good, "\n".join(lines))


def test_a_file_of_100_megabytes_is_not_read(good: Project) -> None:
    (good.upstream.work / FILE).write_bytes(b"#" * 100_000_000)
    revision = good.upstream.commit({"version": "2\n"})
    refused(good, f"{FILE} in {revision[:12]} is larger than 1024 KiB: make it shorter")


@pytest.mark.parametrize("kind", ["a symlink", "a directory"])
def test_what_is_no_file_is_not_followed(good: Project, kind: str) -> None:
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
    refused(good, f"{FILE} in {revision[:12]} is {kind}: commit a file there")


def test_a_missing_file_fails_unless_none_is_wanted(good: Project) -> None:
    revision = good.upstream.commit({FILE: None, "version": "2\n"})
    advice = "commit one, or say pipeline_file: off for app in repos.yml"
    refused(good, f"{revision[:12]} has no {FILE}: {advice}")
    good.configure(pipeline_file="off", top={"defaults": {"pipeline_file": FILE}})
    assert good.deploy()["status"] == "succeeded"


def test_the_file_stands_in_the_directory_that_is_deployed(app: Project) -> None:
    app.configure(dir="web")
    app.upstream.commit(
        {FILE: "stages: 1", f"web/{FILE}": "restart: grep two index", "web/index": "one"}
    )
    assert app.deploy(code=1)["failure"]["command"] == "grep two index"
    app.upstream.commit({"web/index": "two"})
    assert app.deploy()["status"] == "succeeded"
    app.upstream.commit({f"web/{FILE}": None})
    assert f"has no web/{FILE}: commit one" in app.deploy(code=1)["failure"]["message"]


def test_an_env_file_that_cannot_be_used_fails_before_anything_runs(good: Project) -> None:
    place = good.directory / "app.env"
    place.write_text("A=1\nB C\n")
    place.chmod(0o600)
    good.configure(env_file=str(place))
    good.say("2", stages=[{"name": "a", "run": good.tell("ran")}])
    refused(good, f"{place}:2: not a line of a dotenv file: wanted NAME=value")


# ---- Who says what --------------------------------------------------------------------------

BY_KEY: dict[str, tuple[Callable[[str], Any], str]] = {
    "stages": (lambda word: [{"name": "a", "run": word}], "stage a: {}"),
    "restart": (lambda word: word, "restart: {}"),
    "healthcheck": (lambda word: {"command": word}, "health check: {}"),
    "post": (lambda word: {"always": word}, "post always: {}"),
}


@pytest.mark.parametrize("key", BY_KEY)
def test_the_server_comes_before_the_project_and_that_before_the_deployer(
    app: Project, key: str
) -> None:
    value, line = BY_KEY[key]
    own = {"own": {key: value("deployer")}} if key in ("stages", "restart") else {"own": {}}
    app.configure({"deployers": own}, deployer="own")
    app.say("1")
    brought = [f"{line.format('deployer')} [deployer own]"] if own["own"] else []
    assert app.plan() == brought
    app.say("2", **{key: value("project")})
    assert app.plan() == [f"{line.format('project')} [{FILE}]"]
    app.configure({"deployers": own}, deployer="own", **{key: value("server")})
    assert app.plan() == [f"{line.format('server')} [repos.yml]"]


def test_the_plan_of_a_rollback_tells_who_says_its_hook(app: Project) -> None:
    app.say("1", on_rollback="project")
    app.deploy()
    app.say("2")
    app.deploy()
    assert f"on_rollback: project [{FILE}]" in app.cli("rollback", "app", "-n").stdout
    app.configure(on_rollback="server")
    assert "on_rollback: server [repos.yml]" in app.cli("rollback", "app", "-n").stdout


def test_a_project_can_take_away_what_the_deployer_brings(app: Project) -> None:
    app.configure(deployer="npm", restart=[])
    app.say("1", stages=[], restart="false")
    assert app.stages(app.deploy()) == {
        "fetch": "succeeded",
        "prepare": "succeeded",
        "switch": "succeeded",
    }


def test_variables_are_joined_by_name(app: Project) -> None:
    place = app.directory / "app.env"
    place.write_text('B=file\nC=file\nexport D="f i l e"\n')
    place.chmod(0o600)
    app.configure(env_file=str(place), env={"C": "server"}, secrets={"E": SECRET})
    stage = {"name": "a", "run": app.tell("$A $B $C $D ${#E} $F"), "env": {"F": "stage"}}
    app.say("1", env={"A": "own", "B": "own", "C": "own", "E": "own", "F": "own"}, stages=[stage])
    app.deploy()
    assert app.told == ["own file server f i l e 15 stage"]


# ---- Going back -----------------------------------------------------------------------------


def chatty(app: Project, version: str) -> dict[str, Any]:
    """A pipeline that tells which version's it is, and what it sees."""
    sees = f"{version} $OWN ${{FILE-}}"
    return {
        "env": {"OWN": f"own{version}"},
        "restart": app.tell(f"restart {sees}"),
        "on_rollback": app.tell(f"on_rollback {sees}"),
        "healthcheck": {"command": app.tell(f"check {sees}")},
    }


def test_a_rollback_runs_what_the_old_release_said_with_what_it_saw_then(app: Project) -> None:
    place = app.directory / "app.env"
    app.configure(env_file=str(place), env={"TOP": "then"})
    for version in "12":
        place.write_text(f"FILE=file{version}\n")
        place.chmod(0o600)
        app.say(version, **chatty(app, version))
        app.deploy()
    app.configure(pipeline_file="off", env={"TOP": "now"})
    place.unlink()
    assert app.told[-1] == "check 2 own2 file2"
    document = back(app)
    assert [*app.stages(document)] == ["prepare", "switch", "on_rollback", "restart", "healthcheck"]
    assert app.told == [f"{what} 1 own1 file1" for what in ("on_rollback", "restart", "check")]
    app.configure(restart=app.tell("restart by the server $TOP"))
    back(app, "--to", "2")
    assert app.told[1] == "restart by the server then"


def test_what_fails_its_check_goes_back_by_the_old_file(app: Project) -> None:
    app.say("1", **chatty(app, "1"))
    app.deploy()
    app.say("2", **{**chatty(app, "2"), "healthcheck": {"command": "false", "deadline": 0.2}})
    assert app.told
    document = app.deploy(code=3)
    assert app.told == [
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


def test_a_hook_that_fails_on_the_way_back_is_told_and_the_restart_runs_all_the_same(
    app: Project,
) -> None:
    app.say("1", **{**chatty(app, "1"), "on_rollback": "echo no; exit 3"})
    app.deploy()
    app.say("2", healthcheck={"command": "false", "deadline": 0.2, "interval": 0.1})
    assert app.told
    document = app.deploy(code=4)
    assert document["status"] == "degraded"
    assert document["reason"] == (
        "going back failed too, in rollback on_rollback: step 1 failed: exit code 3"
    )
    assert app.told == ["restart 1 own1 ", "check 1 own1 "]
    assert app.live == "1"


def test_a_release_that_was_pruned_is_built_by_the_file_of_its_own_revision(app: Project) -> None:
    app.configure(keep_releases=2)
    for version in "1234":
        run = app.tell(f"build {version} $DEPLOYCTL_TASK")
        fresh = {"name": "migrate", "run": app.tell("migrate"), "when": {"task": "deploy"}}
        app.say(version, stages=[{"name": "build", "run": run}, fresh])
        app.deploy()
    assert app.told
    document = back(app, "--to", "1")
    assert app.told == ["build 1 rollback"]
    assert app.stages(document)["migrate"] == "skipped"
    assert "<== migrate: skipped: this is a rollback\n" in app.cli("logs", "app").stdout


# ---- Afterwards -----------------------------------------------------------------------------


def after(app: Project, **keys: Any) -> dict[str, Any]:
    words = "$DEPLOYCTL_STATUS $(cat version)"
    names = ("failure", "always", "success")
    return {"post": {name: app.tell(f"{name} {words}") for name in names}, **keys}


def test_what_runs_afterwards_knows_how_it_ended_and_stands_in_what_is_live(app: Project) -> None:
    app.say("1", **after(app))
    assert [*app.stages(app.deploy())][-1] == "post"
    assert app.told == ["success succeeded 1", "always succeeded 1"]
    app.say("2", **after(app, restart="false"))
    app.deploy(code=3)
    assert app.told == ["failure rolled_back 1", "always rolled_back 1"]
    app.say("3", **after(app, stages=[{"name": "a", "run": "false"}]))
    app.deploy(code=1)
    assert app.told == ["failure failed 1", "always failed 1"]


def test_what_fails_afterwards_changes_nothing(app: Project) -> None:
    app.say("1", post={"always": "exit 3"})
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


def test_a_wrong_file_runs_only_what_the_server_wants_afterwards(good: Project) -> None:
    good.configure(post={"failure": good.tell("server $DEPLOYCTL_STATUS")})
    good.commit("stagse: []\n")
    good.deploy(code=1)
    assert good.told == ["server failed"]


def test_a_process_that_dies_afterwards_has_deployed(app: Project) -> None:
    gate = Gate(app.directory)
    app.say("1", post={"always": gate.command})
    process = app.cli.start("deploy", "app")
    pid = gate.wait()
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    assert app.cli("run").code == 0
    assert app.cli.json("show", "1")["status"] == "succeeded"
    assert (app.live, app.status["live"]["deployment"]) == ("1", 1)
    app.say("2")
    app.deploy()
    assert not is_running(pid)


def test_a_process_that_dies_after_a_failure_does_not_try_it_again(app: Project) -> None:
    app.say("1", healthcheck=CHECK)
    app.deploy()
    gate = Gate(app.directory)
    app.say("bad", healthcheck=CHECK, post={"failure": gate.command})
    process = app.cli.start("deploy", "app")
    gate.wait()
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    assert app.cli("run").stdout == ""
    assert (app.cli.json("show", "2")["status"], app.live) == ("rolled_back", "1")
    assert app.status["hold"] is not None
    gate.open()


def test_what_is_cancelled_afterwards_has_ended_already(app: Project) -> None:
    gate = Gate(app.directory)
    app.say("1", post={"success": gate.command})
    process = app.cli.start("deploy", "app")
    gate.wait()
    done = app.cli("cancel", "1")
    assert (done.code, "succeeded" in done.error) == (5, True)
    gate.open()
    assert finish(process).code == 0


def test_a_rollback_that_fails_says_of_what_afterwards(app: Project) -> None:
    app.say("1")
    first = app.deploy()
    app.say("2")
    app.deploy()
    word = app.tell("$DEPLOYCTL_STATUS $DEPLOYCTL_REVISION")
    app.configure(restart="grep 2 version", post={"failure": word})
    app.cli("rollback", "app")
    assert app.told == [f"rolled_back {first['revision']}"]


def test_a_secret_that_changes_meanwhile_is_not_shown(app: Project) -> None:
    file = app.directory / "secret"
    file.write_text("first-value")
    file.chmod(0o600)
    app.configure(secrets={"S": f"file:{file}"})
    app.say("1", stages=[{"name": "a", "run": f"echo later-value > {file}"}], restart="echo $S")
    done = app.cli("deploy", "app")
    assert "later-value" not in done.stdout.split("==> restart")[1]


# ---- Stages ---------------------------------------------------------------------------------


def test_a_release_built_again_runs_the_stages_of_its_branch(app: Project) -> None:
    app.configure(keep_releases=1)
    stages = [{"name": "build", "run": "touch built", "when": {"branch": "main"}}]
    first = app.say("1", stages=stages)
    app.deploy()
    for version in ("2", "3", "4"):
        app.say(version, stages=stages)
        app.deploy()
    back(app, "--to", first)
    assert (app.live, (app.path / "current" / "built").exists()) == ("1", True)


def test_a_stage_depends_on_the_branch_and_on_what_changed(app: Project) -> None:
    ran = [
        {"name": "branch", "run": "true", "when": {"branch": ["rel/*", "main"]}},
        {"name": "other", "run": "true", "when": {"branch": "rel/*"}},
        {"name": "paths", "run": "true", "when": {"paths": ["front/", "!*.md"]}},
    ]
    app.say("1", stages=ran)
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


def test_a_step_that_failed_is_tried_again(app: Project) -> None:
    run = f"[ -e {app.directory}/flag ] || {{ touch {app.directory}/flag; exit 3; }}"
    app.say("1", stages=[{"name": "flaky", "run": run, "retry": 2}])
    lines = app.cli("deploy", "app").stdout.splitlines()
    start = lines.index("==> flaky")
    assert lines[start + 1 : start + 4] == [
        f"$ {run}",
        "exit code 3; trying again in 1s (2 of 3)",
        f"$ {run}",
    ]
    steps = app.cli.json("show", "1")["stages"][2]["steps"]
    assert [step["exit_code"] for step in steps] == [3, 0]


def test_a_stage_that_may_fail_is_told_and_passed(app: Project) -> None:
    lint = {"name": "lint", "run": "exit 3", "allow_failure": True}
    app.say("1", stages=[lint, {"name": "build", "run": "true"}])
    document = app.deploy()
    assert document["status"] == "succeeded"
    assert "failure" not in document
    assert document["reason"] == "failed, as allow_failure lets it: lint"
    found = app.stages(document)
    assert (found["lint"], found["build"]) == ("failed", "succeeded")
    assert app.live == "1"


def test_steps_beside_each_other_are_told_apart_and_masked(app: Project) -> None:
    app.configure(secrets={"TOKEN": SECRET})
    steps = ["echo slow $TOKEN; sleep 0.2", ["printf", "no end of line"], f"echo {SECRET}"]
    app.say("1", stages=[{"name": "tests", "parallel": steps}])
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


def test_the_first_that_fails_ends_those_beside_it(app: Project) -> None:
    pid_file = app.directory / "pid"
    long = f"echo $$ > {pid_file}; sleep 60 & echo $! >> {pid_file}; wait"
    fails = f"until [ -s {pid_file} ]; do sleep 0.02; done; echo why; exit 3"
    app.say("1", stages=[{"name": "tests", "parallel": [long, fails]}])
    failure = app.deploy(code=1)["failure"]
    assert (failure["step"], failure["message"]) == (2, "step 2 failed: exit code 3")
    assert failure["tail"] == "why"
    assert not [pid for pid in map(int, pid_file.read_text().split()) if is_running(pid)]


def test_ctrl_c_ends_all_that_run_beside_each_other(app: Project) -> None:
    gates = [Gate(app.directory, name) for name in ("a", "b")]
    app.say("1", stages=[{"name": "tests", "parallel": [gate.command for gate in gates]}])
    process = app.cli.start("deploy", "app")
    pids = [gate.wait() for gate in gates]
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process).code == 130
    wait_until(lambda: not any(map(is_running, pids)))
    assert app.cli.json("show", "1")["status"] == "cancelled"
    assert app.live is None
