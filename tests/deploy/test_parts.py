"""Tests of deployments with submodules, git-lfs, ``dir``, and a mirror that two repos share."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.app import App
from tests.support.projects import add_submodule, keep_in_lfs, library, push_lfs, update_submodule
from tests.support.upstream import git


def test_a_submodule_is_deployed_and_rolled_back_without_its_remote(
    app: App, tmp_path: Path
) -> None:
    app.configure(submodules=True, keep_releases=1)
    lib = library(tmp_path, "lib")
    app.push("1")
    add_submodule(app.upstream, lib, "vendor/lib")
    app.deploy()
    lib.commit({"lib.txt": "lib 2\n"})
    update_submodule(app.upstream, "vendor/lib", lib)
    app.release("2")
    app.release("3")
    current = app.path / "current"
    assert (current / "vendor/lib/lib.txt").read_text() == "lib 2\n"
    assert [path for path in app.path.rglob("*") if path.name == ".git"] == []
    shutil.rmtree(lib.bare)
    assert not list((app.path / "releases").glob("1-*")), "the first release must be built again"
    assert app.cli("rollback", "app", "--to", "1").code == 0
    assert (current / "vendor/lib/lib.txt").read_text() == "lib 1\n"


def test_a_submodule_that_cannot_be_fetched_fails_before_any_stage_runs(
    app: App, tmp_path: Path
) -> None:
    app.release("1")
    app.configure(submodules=True, stages=[{"name": "build", "run": "touch $HOME/ran"}])
    lib = library(tmp_path, "lib")
    add_submodule(app.upstream, lib, "lib")
    shutil.rmtree(lib.bare)
    failure = app.deploy(code=1)["failure"]
    assert failure["stage"] == "prepare"
    assert failure["message"] == (
        f"submodule lib: cannot fetch {lib.head} from {lib.url}: '{lib.bare}' does not appear to "
        "be a git repository; check url and what this account may read"
    )
    assert app.live == "1"
    assert len(list((app.path / "releases").iterdir())) == 1


def test_without_the_key_submodules_a_deployment_warns_once_that_they_stay_empty(
    app: App, tmp_path: Path
) -> None:
    app.push("1")
    add_submodule(app.upstream, library(tmp_path, "lib"), "lib")
    app.deploy()
    logged = app.cli("logs", "app").stdout
    warning = "warning: submodules stay empty (lib): set submodules: true of app in repos.yml"
    assert logged.count(warning) == 1
    assert list((app.path / "current" / "lib").iterdir()) == []


def test_lfs_pointers_fail_before_any_stage_runs_until_lfs_is_configured(app: App) -> None:
    app.release("1")
    keep_in_lfs(app.upstream, "*.bin")
    app.upstream.commit({"large.bin": "large\n" * 1000})
    push_lfs(app.upstream)
    failure = app.deploy(code=1)["failure"]
    assert (failure["stage"], failure["message"]) == (
        "prepare",
        (
            "only pointers of git-lfs would be deployed for large.bin: set lfs: true of app in "
            "repos.yml"
        ),
    )
    assert app.live == "1"
    app.configure(lfs=True)
    app.deploy()
    assert (app.path / "current" / "large.bin").read_text() == "large\n" * 1000


def test_a_dir_that_the_commit_does_not_have_fails_before_any_stage_runs(app: App) -> None:
    app.release("1")
    app.configure(dir="frontend")
    failure = app.deploy(code=1)["failure"]
    sha = app.upstream.head[:12]
    assert (failure["stage"], failure["message"]) == (
        "prepare",
        f"{sha} has no directory frontend; push one, or change dir in repos.yml",
    )
    assert app.live == "1"


def test_repos_with_one_url_that_deploy_at_the_same_time_share_one_mirror(app: App) -> None:
    app.upstream.commit({"web/page": "web\n", "api/page": "api\n"})
    app.upstream.branch("next")
    app.upstream.commit({"api/page": "next\n"})
    repos = {
        "web": {"url": app.upstream.url, "dir": "web"},
        "api": {"url": app.upstream.url, "dir": "api", "branch": "next"},
    }
    app.write(repos, max_running=2)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: app.cli("deploy", name), repos))
    assert [command.code for command in done] == [0, 0], done
    pages = [(app.directory / name / "current/page").read_text() for name in repos]
    assert pages == ["web\n", "next\n"]
    (mirror,) = (path for path in (app.state / "mirrors").iterdir() if path.suffix == ".git")
    assert len(git(mirror, "for-each-ref").splitlines()) == 2
