"""Cached directories are copied from the last good release, with the paths in them corrected."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from deployctl.releases.caches import copy
from deployctl.releases.relocate import relocate
from tests.support.app import App
from tests.support.small_disk import free_bytes, small_disk

MB = 1024 * 1024
COUNT = {"name": "count", "run": "mkdir -p deps && echo $DEPLOYCTL_DEPLOYMENT >>deps/built"}
CHECK = {"name": "test", "run": "grep . version"}


def configure_cache(
    app: App, *stages: dict[str, Any], cache: list[str] | None = None, **keys: Any
) -> None:
    app.configure(stages=[*(stages or (COUNT,)), CHECK], cache=cache or ["deps"], **keys)


def release(app: App, number: int) -> Path:
    """Return the directory of the release that a deployment built."""
    (found,) = (app.path / "releases").glob(f"{number}-*")
    return found


def cache_messages(app: App, number: int) -> list[str]:
    """Return the lines about caches in the log of a deployment."""
    lines = app.cli("logs", str(number)).stdout.splitlines()
    return [line for line in lines if "cache " in line]


def test_a_release_starts_with_a_copy_of_the_caches_of_the_live_one(app: App) -> None:
    configure_cache(app)
    for version in ("1", "2", "3"):
        app.release(version)
    assert (app.path / "current/deps/built").read_text() == "1\n2\n3\n"
    assert (release(app, 2) / "deps/built").read_text() == "1\n2\n"
    assert cache_messages(app, 1) == ["cache deps: no good release has it yet"]
    assert cache_messages(app, 3) == [f"cache deps: from {release(app, 2).name}"]
    files = [release(app, number) / "deps/built" for number in (1, 2, 3)]
    assert len({file.stat().st_ino for file in files}) == 3


def test_a_directory_that_is_not_declared_as_cache_is_not_copied(app: App) -> None:
    configure_cache(app, cache=["other"])
    app.release("1")
    app.release("2")
    assert (app.path / "current/deps/built").read_text() == "2\n"


@pytest.mark.parametrize("version", ["", "bad"])
def test_no_cache_is_copied_from_a_failed_release(app: App, version: str) -> None:
    configure_cache(app)
    app.release("1")
    app.push(version)
    app.cli("deploy", "app")
    app.release("3")
    assert (app.path / "current/deps/built").read_text() == "1\n3\n"


def test_no_cache_is_copied_from_a_failed_release_that_stays_live(app: App) -> None:
    configure_cache(app, auto_rollback=False)
    app.release("1")
    app.push("bad")
    app.deploy(code=4)
    app.release("3")
    assert (app.path / "current/deps/built").read_text() == "1\n3\n"


def test_a_cache_that_the_live_release_has_not_is_copied_from_an_older_one(app: App) -> None:
    configure_cache(app)
    app.release("1")
    app.release("2")
    shutil.rmtree(app.path / "current/deps")
    app.release("3")
    assert cache_messages(app, 3) == [f"cache deps: from {release(app, 1).name}"]


def test_a_release_without_the_key_cache_starts_without_caches(app: App) -> None:
    configure_cache(app)
    app.release("1")
    app.configure(stages=[COUNT], cache=[])
    app.release("2")
    configure_cache(app)
    app.release("3")
    assert (app.path / "current/deps/built").read_text() == "2\n3\n"


def test_the_project_file_may_name_caches_and_the_plan_shows_them(app: App) -> None:
    app.configure(stages=[COUNT], pipeline_file=".deployctl.yml")
    app.upstream.commit({".deployctl.yml": "cache: [deps]\n"})
    app.release("1")
    app.release("2")
    assert (app.path / "current/deps/built").read_text() == "1\n2\n"
    plan = app.cli("deploy", "app", "-n").stdout
    assert "copy caches: deps [.deployctl.yml]" in plan


def test_the_project_file_cannot_cache_what_repos_yml_shares(app: App) -> None:
    app.configure(shared_dirs=["var", "www/media"], pipeline_file=".deployctl.yml")
    app.upstream.commit({".deployctl.yml": "cache:\n- var\n- var/tmp\n- www\n"})
    app.push("1")
    assert app.deploy(code=1)["failure"]["message"].splitlines() == [
        ".deployctl.yml:2: cache[0]: shared too (shared_dirs, shared_files): keep one of the two",
        ".deployctl.yml:3: cache[1]: inside var, which is a cache too: keep one",
        ".deployctl.yml:3: cache[1]: inside var, which is shared: keep one",
        ".deployctl.yml:4: cache[2]: www/media in it is shared: keep one of the two",
    ]


@pytest.mark.parametrize(
    ("cache", "what"),
    [
        (
            "dir",
            (
                "dir is in the commit, so it cannot be a cache: remove it from the repository "
                "(git rm -r --cached), or from cache"
            ),
        ),
        (
            "link/deps",
            (
                "link is a symlink in the commit, so the cache link/deps cannot be put there: "
                "remove the symlink from the repository, or link/deps from cache"
            ),
        ),
        (
            "dir/file",
            (
                "dir/file is a file in the commit, so the cache dir/file cannot be put there: "
                "remove the file from the repository, or dir/file from cache"
            ),
        ),
    ],
)
def test_a_path_that_the_commit_has_cannot_be_a_cache(app: App, cache: str, what: str) -> None:
    configure_cache(app, CHECK | {"name": "nothing"}, cache=[cache])
    app.upstream.commit({"dir/file": ""})
    (app.upstream.work / "link").symlink_to("/etc")
    app.push("1")
    failure = app.deploy(code=1)["failure"]
    assert (failure["stage"], failure["message"]) == ("prepare", what)


def test_a_link_in_the_place_of_a_cache_is_not_followed(app: App) -> None:
    outside = app.directory / "outside"
    (outside / "deps").mkdir(parents=True)
    run = f"ln -s {outside} a; mkdir -p b; ln -s {outside}/deps b/deps"
    configure_cache(app, {"name": "link", "run": run}, cache=["a/deps", "b/deps"])
    app.release("1")
    app.release("2")
    assert cache_messages(app, 2) == [
        f"cache {name}/deps: no good release has it yet" for name in "ab"
    ]


def test_a_cache_that_cannot_be_copied_is_only_a_warning(tmp_path: Path) -> None:
    (tmp_path / "17-old/deps").mkdir(parents=True)
    (tmp_path / "17-old/deps/file").write_text("x")
    (tmp_path / "new").mkdir()
    program = tmp_path / "cp"
    program.write_text("#!/bin/sh\ncp \"$@\"; echo 'cp: error reading: I/O error' >&2; exit 1\n")
    program.chmod(0o755)
    message = copy(
        "deps",
        str(tmp_path / "new"),
        [str(tmp_path / "17-old")],
        timeout=10.0,
        prefix=["/bin/sh", "-c", f'shift; exec {program} "$@"', "sh"],
    )
    assert message == (
        "warning: cache deps: from 17-old: cannot be copied: cp: error reading: I/O error; "
        "building without it"
    )
    assert os.listdir(tmp_path / "new") == []


def test_a_deployment_fails_before_any_step_where_a_cache_fills_the_disk(
    app: App, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 32) as disk:
        app.path = disk / "app"
        big = {"name": "big", "run": "mkdir -p deps; head -c 10000000 /dev/zero >deps/big"}
        configure_cache(app, big, path=str(app.path), min_free=0)
        app.release("1")
        (disk / "other").write_bytes(b"x" * (free_bytes(disk) - 5 * MB))
        app.push("2")
        failure = app.deploy(code=1)["failure"]
        assert failure["stage"] == "prepare"
        assert failure["message"].endswith("/deps: No space left on device")
        assert app.live == "1"
        assert [path.name[:2] for path in (app.path / "releases").iterdir()] == ["1-"]


def test_in_place_cached_directories_stay_where_they_are(app: App) -> None:
    configure_cache(app, strategy="in_place")
    app.release("1")
    app.release("2")
    assert (app.path / "deps/built").read_text() == "1\n2\n"


# ---- virtual environments -------------------------------------------------------------------

SETUP = """
from setuptools import setup
scripts = ["shop=shop:main"]
setup(name="shop", version="1", py_modules=["shop"], entry_points={"console_scripts": scripts})
"""
SHOP = "import sys\ndef main():\n    print(sys.prefix, __file__)\n"


def test_a_copied_environment_runs_by_itself_once_the_old_release_is_gone(app: App) -> None:
    """An editable installation names the place of the project, in a script and in a path file."""
    venv = {
        "name": "install",
        "run": (
            f"test -d back/.venv || {sys.executable} -m venv --without-pip back/.venv\n"
            f"test -e back/.venv/bin/shop || {sys.executable} -m pip --python back/.venv/bin/python"
            " install -q --use-pep517 --no-index --no-deps --no-build-isolation --editable .\n"
        ),
        # setuptools, which builds it, is in no new environment since Python 3.12.
        "env": {"PYTHONPATH": sysconfig.get_path("purelib")},
    }
    configure_cache(
        app, venv, cache=["back/.venv", "shop.egg-info"], keep_releases=1, healthcheck=None
    )
    app.upstream.commit({"setup.py": SETUP, "shop.py": SHOP})
    for version in ("1", "2", "3"):
        app.release(version)
    assert not list((app.path / "releases").glob("1-*"))
    shutil.rmtree(release(app, 2))
    here = release(app, 3)
    assert output_of(here / "back/.venv/bin/shop") == f"{here}/back/.venv {here}/shop.py"
    script = f". {here}/back/.venv/bin/activate; command -v shop; shop"
    assert output_of("sh", "-c", script).splitlines()[0] == f"{here}/back/.venv/bin/shop"
    search = f"grep -rIlE 'releases/[12]-' {here}/back/.venv || true"
    assert output_of("sh", "-c", search) == ""


def output_of(*argv: str | Path) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_texts_that_name_the_old_release_change_and_keep_their_mode(tmp_path: Path) -> None:
    old, new = tmp_path / "7-aaaaaaaaaaaa", tmp_path / "8-bbbbbbbbbbbb"
    venv = new / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"command = python -m venv {old}/.venv\n")
    (venv / "bin/python").symlink_to(sys.executable)
    script = venv / "bin/tool"
    script.write_text(f"#!{old}/.venv/bin/python\n# {old}.2/x {old}c\n")
    script.chmod(0o555)
    outside = tmp_path / "outside"
    outside.write_text(str(old))
    (venv / "bin/link").symlink_to(outside)
    (venv / "bin/home").symlink_to(old / "file")
    (venv / "bin/binary").write_bytes(b"\0" + os.fsencode(old))
    assert relocate(str(new), str(old), str(new)) is None
    assert script.read_text() == f"#!{new}/.venv/bin/python\n# {old}.2/x {old}c\n"
    assert script.stat().st_mode & 0o7777 == 0o555
    assert outside.read_text() == str(old)
    assert os.readlink(venv / "bin/link") == str(outside)
    assert os.readlink(venv / "bin/home") == str(new / "file")
    assert (venv / "bin/binary").read_bytes() == b"\0" + os.fsencode(old)
    (venv / "bin/python").unlink()
    (venv / "bin/python").symlink_to("/nonexistent/python3")
    assert relocate(str(new), str(old), str(new)) == f"{venv}/bin/python leads nowhere"


def test_python_does_not_run_what_it_compiled_from_the_old_text(tmp_path: Path) -> None:
    old, new = tmp_path / "7-aaaaaaaaaaaa", tmp_path / "8-bbbbbbbbbbbb"
    packages = new / ".venv/lib/python3/site-packages"
    packages.mkdir(parents=True)
    (new / ".venv/pyvenv.cfg").touch()
    (new / ".venv/bin").mkdir()
    (new / ".venv/bin/python").symlink_to(sys.executable)
    finder = packages / "__editable___shop_finder.py"
    finder.write_text(f"print({str(old)!r})\n")
    never_compared = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(finder), invalidation_mode=never_compared)
    assert relocate(str(new), str(old), str(new)) is None
    program = "import __editable___shop_finder"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=packages, check=True, capture_output=True, text=True
    )
    assert found.stdout == f"{new}\n"
