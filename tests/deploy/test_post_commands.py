"""Commands under post run at the end of a deployment, whatever became of it."""

from __future__ import annotations

import os
import signal
from typing import Any

from tests.support.cli import Gate, finish, wait_for_end
from tests.support.pipelines import Project

SECRET = "hunter2-hunter2"
CHECK = {"command": "! grep bad version", "deadline": 2, "interval": 1, "stable_for": 0}


def noting_post(project: Project, **keys: Any) -> dict[str, Any]:
    words = "$DEPLOYCTL_STATUS $(cat version)"
    names = ("failure", "always", "success")
    return {"post": {name: project.note(f"{name} {words}") for name in names}, **keys}


def test_post_runs_in_the_live_directory_and_gets_the_status(project: Project) -> None:
    project.push_pipeline("1", **noting_post(project))
    assert [*project.stages(project.deploy())][-1] == "post"
    assert project.notes == ["success succeeded 1", "always succeeded 1"]
    project.push_pipeline("2", **noting_post(project, restart="false"))
    project.deploy(code=3)
    assert project.notes == ["failure rolled_back 1", "always rolled_back 1"]
    project.push_pipeline("3", **noting_post(project, stages=[{"name": "a", "run": "false"}]))
    project.deploy(code=1)
    assert project.notes == ["failure failed 1", "always failed 1"]


def test_a_failure_in_post_does_not_change_the_outcome(project: Project) -> None:
    project.push_pipeline("1", post={"always": "exit 3"})
    done = project.cli("deploy", "app")
    assert done.code == 0
    assert (
        "warning: post: step 1 failed: exit code 3; the deployment is succeeded anyway\n"
        in done.stdout
    )
    document = project.cli.json("show", "1")
    assert document["status"] == "succeeded"
    assert "failure" not in document
    assert project.stages(document)["post"] == "failed"
    assert project.live == "1"


def test_after_a_wrong_pipeline_file_only_post_of_repos_yml_runs(good: Project) -> None:
    good.configure(post={"failure": good.note("server $DEPLOYCTL_STATUS")})
    good.commit("stagse: []\n")
    good.deploy(code=1)
    assert good.notes == ["server failed"]


def test_a_deployment_whose_process_dies_in_post_has_succeeded(project: Project) -> None:
    gate = Gate(project.directory)
    project.push_pipeline("1", post={"always": gate.command})
    process = project.cli.start("deploy", "app")
    pid = gate.wait()
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    assert project.cli("run").code == 0
    assert project.cli.json("show", "1")["status"] == "succeeded"
    assert (project.live, project.status["live"]["deployment"]) == ("1", 1)
    project.push_pipeline("2")
    project.deploy()
    wait_for_end(pid)


def test_a_failed_deployment_whose_process_dies_in_post_is_not_tried_again(
    project: Project,
) -> None:
    project.push_pipeline("1", healthcheck=CHECK)
    project.deploy()
    gate = Gate(project.directory)
    project.push_pipeline("bad", healthcheck=CHECK, post={"failure": gate.command})
    process = project.cli.start("deploy", "app")
    gate.wait()
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    assert project.cli("run").stdout == ""
    assert (project.cli.json("show", "2")["status"], project.live) == ("rolled_back", "1")
    assert project.status["hold"] is not None
    gate.open()


def test_a_deployment_cannot_be_cancelled_in_post(project: Project) -> None:
    gate = Gate(project.directory)
    project.push_pipeline("1", post={"success": gate.command})
    process = project.cli.start("deploy", "app")
    gate.wait()
    done = project.cli("cancel", "1")
    assert (done.code, "succeeded" in done.error) == (5, True)
    gate.open()
    assert finish(process).code == 0


def test_post_of_a_failed_rollback_gets_the_revision_that_failed(project: Project) -> None:
    project.push_pipeline("1")
    first = project.deploy()
    project.push_pipeline("2")
    project.deploy()
    command = project.note("$DEPLOYCTL_STATUS $DEPLOYCTL_REVISION")
    project.configure(restart="grep 2 version", post={"failure": command})
    project.cli("rollback", "app")
    assert project.notes == [f"rolled_back {first['revision']}"]


def test_all_steps_get_the_secret_value_that_was_read_when_the_deployment_began(
    project: Project,
) -> None:
    file = project.directory / "secret"
    file.write_text("first-value")
    file.chmod(0o600)
    project.configure(secrets={"S": f"file:{file}"})
    project.push_pipeline(
        "1", stages=[{"name": "a", "run": f"echo later-value > {file}"}], restart="echo $S"
    )
    done = project.cli("deploy", "app")
    assert "later-value" not in done.stdout.split("==> restart")[1]
