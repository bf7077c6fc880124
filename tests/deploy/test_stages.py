"""Stages: conditions, retries, failures that are allowed, and parallel steps."""

from __future__ import annotations

import os
import signal

from tests.support.app import roll_back
from tests.support.cli import Gate, finish, is_running, wait_for_end
from tests.support.pipelines import FILE, Project
from tests.support.workers import wait_until

SECRET = "hunter2-hunter2"
CHECK = {"command": "! grep bad version", "deadline": 2, "interval": 1, "stable_for": 0}


def test_a_rebuilt_release_runs_the_stages_of_the_branch_it_was_built_from(
    project: Project,
) -> None:
    project.configure(keep_releases=1)
    stages = [{"name": "build", "run": "touch built", "when": {"branch": "main"}}]
    first = project.push_pipeline("1", stages=stages)
    project.deploy()
    for version in ("2", "3", "4"):
        project.push_pipeline(version, stages=stages)
        project.deploy()
    roll_back(project, "--to", first)
    assert (project.live, (project.path / "current" / "built").exists()) == ("1", True)


def test_a_stage_can_depend_on_the_branch_and_on_changed_paths(project: Project) -> None:
    stages = [
        {"name": "branch", "run": "true", "when": {"branch": ["rel/*", "main"]}},
        {"name": "other", "run": "true", "when": {"branch": "rel/*"}},
        {"name": "paths", "run": "true", "when": {"paths": ["front/", "!*.md"]}},
    ]
    project.push_pipeline("1", stages=stages)
    first = project.stages(project.deploy())
    assert [first[name] for name in ("branch", "other", "paths")] == [
        "succeeded",
        "skipped",
        "succeeded",
    ]
    project.upstream.commit({"version": "2\n", "README.md": "x", "front/x.md": "x"})
    done = project.cli("deploy", "app")
    assert "<== other: skipped: main is not rel/*\n" in done.stdout
    assert "<== paths: skipped: nothing in front/, !*.md changed\n" in done.stdout
    project.upstream.commit({"front/x.js": "x"})
    assert project.stages(project.deploy())["paths"] == "succeeded"
    assert project.plan()[2] == f"stage paths (paths front/ or !*.md): true [{FILE}]"


def test_a_failed_step_with_retry_is_tried_again(project: Project) -> None:
    run = f"[ -e {project.directory}/flag ] || {{ touch {project.directory}/flag; exit 3; }}"
    project.push_pipeline("1", stages=[{"name": "flaky", "run": run, "retry": 2}])
    lines = project.cli("deploy", "app").stdout.splitlines()
    start = lines.index("==> flaky")
    assert lines[start + 1 : start + 4] == [
        f"$ {run}",
        "exit code 3; trying again in 1s (2 of 3)",
        f"$ {run}",
    ]
    steps = project.cli.json("show", "1")["stages"][2]["steps"]
    assert [step["exit_code"] for step in steps] == [3, 0]


def test_a_failed_stage_with_allow_failure_does_not_end_the_deployment(project: Project) -> None:
    lint = {"name": "lint", "run": "exit 3", "allow_failure": True}
    project.push_pipeline("1", stages=[lint, {"name": "build", "run": "true"}])
    document = project.deploy()
    assert document["status"] == "succeeded"
    assert "failure" not in document
    assert document["reason"] == "failed, as allow_failure lets it: lint"
    found = project.stages(document)
    assert (found["lint"], found["build"]) == ("failed", "succeeded")
    assert project.live == "1"


def test_output_of_parallel_steps_is_prefixed_and_masked(project: Project) -> None:
    project.configure(secrets={"TOKEN": SECRET})
    steps = ["echo slow $TOKEN; sleep 0.2", ["printf", "no end of line"], f"echo {SECRET}"]
    project.push_pipeline("1", stages=[{"name": "tests", "parallel": steps}])
    done = project.cli("deploy", "app")
    assert done.code == 0
    for line in ("[1] slow [hidden]", "[2] no end of line", "[3] [hidden]", "[3] $ echo [hidden]"):
        assert f"\n{line}\n" in done.stdout
    assert SECRET not in done.stdout + project.cli("logs", "app").stdout
    found = project.cli.json("show", "1")["stages"][2]["steps"]
    assert [step["command"] for step in found] == [
        "echo slow $TOKEN; sleep 0.2",
        "printf 'no end of line'",
        "echo [hidden]",
    ]


def test_the_first_parallel_step_that_fails_ends_the_others(project: Project) -> None:
    pid_file = project.directory / "pid"
    long = f"echo $$ > {pid_file}; sleep 60 & echo $! >> {pid_file}; wait"
    fails = f"until [ -s {pid_file} ]; do sleep 0.02; done; echo why; exit 3"
    project.push_pipeline("1", stages=[{"name": "tests", "parallel": [long, fails]}])
    failure = project.deploy(code=1)["failure"]
    assert (failure["step"], failure["message"]) == (2, "step 2 failed: exit code 3")
    assert failure["tail"] == "why"
    for pid in map(int, pid_file.read_text().split()):
        wait_for_end(pid)


def test_ctrl_c_ends_all_parallel_steps(project: Project) -> None:
    gates = [Gate(project.directory, name) for name in ("a", "b")]
    project.push_pipeline(
        "1", stages=[{"name": "tests", "parallel": [gate.command for gate in gates]}]
    )
    process = project.cli.start("deploy", "app")
    pids = [gate.wait() for gate in gates]
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process).code == 130
    wait_until(lambda: not any(map(is_running, pids)))
    assert project.cli.json("show", "1")["status"] == "cancelled"
    assert project.live is None
