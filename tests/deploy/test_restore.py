"""Going back runs the pipeline of the release that it goes back to."""

from __future__ import annotations

from typing import Any

from tests.support.app import roll_back
from tests.support.pipelines import Project

CHECK = {"command": "! grep bad version", "deadline": 0.2, "interval": 0.1}


def noting_pipeline(project: Project, version: str) -> dict[str, Any]:
    """Return a pipeline whose commands note its version and the variables OWN and FILE."""
    words = f"{version} $OWN ${{FILE-}}"
    return {
        "env": {"OWN": f"own{version}"},
        "restart": project.note(f"restart {words}"),
        "on_rollback": project.note(f"on_rollback {words}"),
        "healthcheck": {"command": project.note(f"check {words}")},
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
        **{**noting_pipeline(project, "2"), "healthcheck": {"command": "false", "deadline": 0.2}},
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


def test_if_on_rollback_fails_the_restart_runs_and_the_deployment_is_degraded(
    project: Project,
) -> None:
    project.push_pipeline(
        "1", **{**noting_pipeline(project, "1"), "on_rollback": "echo no; exit 3"}
    )
    project.deploy()
    project.push_pipeline("2", healthcheck={"command": "false", "deadline": 0.2, "interval": 0.1})
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
