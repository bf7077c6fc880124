"""Going back runs the pipeline of the release that it goes back to."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.support.app import roll_back
from tests.support.pipelines import Project
from tests.support.small_disk import small_disk

CHECK = {"command": "! grep bad version", "deadline": 2, "interval": 1, "stable_for": 0}


def noting_pipeline(project: Project, version: str) -> dict[str, Any]:
    """Return a pipeline whose commands note its version and the variables OWN and FILE."""
    words = f"{version} $OWN ${{FILE-}}"
    return {
        "env": {"OWN": f"own{version}"},
        "restart": project.note(f"restart {words}"),
        "on_rollback": project.note(f"on_rollback {words}"),
        "healthcheck": {"command": project.note(f"check {words}"), "stable_for": 0},
    }


def test_a_rollback_runs_the_pipeline_of_the_old_release_with_its_environment(
    project: Project,
) -> None:
    place = project.directory / "app.env"
    project.configure(env_file=str(place), env={"TOP": "then"})
    for version in "12":
        place.write_text(f"FILE=file{version}\n")
        place.chmod(0o600)
        project.push_pipeline(version, **noting_pipeline(project, version))
        project.deploy()
    project.configure(pipeline_file="off", env={"TOP": "now"})
    place.unlink()
    assert project.notes[-1] == "check 2 own2 file2"
    document = roll_back(project)
    assert [*project.stages(document)] == [
        "prepare",
        "switch",
        "on_rollback",
        "restart",
        "healthcheck",
    ]
    assert project.notes == [f"{what} 1 own1 file1" for what in ("on_rollback", "restart", "check")]
    project.configure(restart=project.note("restart by the server $TOP"))
    roll_back(project, "--to", "2")
    assert project.notes[1] == "restart by the server then"


def test_after_a_failed_health_check_the_pipeline_of_the_old_release_runs(project: Project) -> None:
    project.push_pipeline("1", **noting_pipeline(project, "1"))
    project.deploy()
    project.push_pipeline(
        "2",
        **{**noting_pipeline(project, "2"), "healthcheck": {"command": "false", "deadline": 1}},
    )
    assert project.notes
    document = project.deploy(code=3)
    assert project.notes == [
        "restart 2 own2 ",
        "on_rollback 1 own1 ",
        "restart 1 own1 ",
        "check 1 own1 ",
    ]
    assert [*project.stages(document)][-4:] == [
        "rollback",
        "rollback on_rollback",
        "rollback restart",
        "rollback healthcheck",
    ]


def test_on_rollback_knows_what_is_gone_to_and_what_is_left(project: Project) -> None:
    """In a rollback that a person asked for, and when deployctl goes back by itself."""
    hook = project.note("$DEPLOYCTL_REVISION from $DEPLOYCTL_PREVIOUS_REVISION")
    shas = []
    for version in "12":
        shas.append(project.push_pipeline(version, on_rollback=hook))
        project.deploy()
    failing = {"command": "false", "deadline": 2, "interval": 1, "stable_for": 0}
    bad = project.push_pipeline("3", on_rollback=hook, healthcheck=failing)
    project.deploy(code=3)
    roll_back(project)
    assert project.notes == [f"{shas[1]} from {bad}", f"{shas[0]} from {shas[1]}"]


def test_a_path_that_became_read_only_is_a_failure_that_changed_nothing(
    project: Project,
) -> None:
    project.configure(min_free=0)
    with small_disk(project.path, 20):
        project.push_pipeline("1")
        project.deploy()
        read_only = f"exec mount -o remount,ro {project.path}"
        project.push_pipeline("2", stages=[{"name": "build", "run": read_only}])
        document = project.deploy(code=1)
        assert document["status"] == "failed"
        assert "Read-only file system" in document["failure"]["message"]
        assert (project.live, project.status["live"]["well"]) == ("1", True)
        assert project.status["hold"] is None
        subprocess.run(["mount", "-o", "remount,rw", project.path], check=True)
        project.push_pipeline("3")
        project.deploy()


@pytest.mark.parametrize("strategy", ["releases", "in_place"])
def test_after_the_path_was_removed_nothing_is_held(project: Project, strategy: str) -> None:
    project.configure(strategy=strategy)
    project.push_pipeline("1")
    project.deploy()
    project.push_pipeline("2", stages=[{"name": "build", "run": f"rm -rf {project.path}"}])
    document = project.deploy(code=4)
    assert document["status"] == "degraded"
    assert project.status["hold"] is None
    project.push_pipeline("3")
    project.deploy()
    assert project.live == "3"


def test_if_on_rollback_fails_the_restart_runs_and_the_deployment_is_degraded(
    project: Project,
) -> None:
    project.push_pipeline(
        "1", **{**noting_pipeline(project, "1"), "on_rollback": "echo no; exit 3"}
    )
    project.deploy()
    project.push_pipeline(
        "2", healthcheck={"command": "false", "deadline": 2, "interval": 1, "stable_for": 0}
    )
    assert project.notes
    document = project.deploy(code=4)
    assert document["status"] == "degraded"
    assert document["reason"] == (
        "going back failed too, in rollback on_rollback: step 1 failed: exit code 3"
    )
    assert project.notes == ["restart 1 own1 ", "check 1 own1 "]
    assert project.live == "1"


def test_a_pruned_release_is_rebuilt_with_the_pipeline_file_of_its_own_revision(
    project: Project,
) -> None:
    project.configure(keep_releases=2)
    for version in "1234":
        run = project.note(f"build {version} $DEPLOYCTL_TASK")
        fresh = {"name": "migrate", "run": project.note("migrate"), "when": {"task": "deploy"}}
        project.push_pipeline(version, stages=[{"name": "build", "run": run}, fresh])
        project.deploy()
    assert project.notes
    document = roll_back(project, "--to", "1")
    assert project.notes == ["build 1 rollback"]
    assert project.stages(document)["migrate"] == "skipped"
    assert "<== migrate: skipped: this is a rollback\n" in project.cli("logs", "app").stdout
