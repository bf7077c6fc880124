"""``deployctl docs architecture``: the files that it lists are those that run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.app import App
from tests.support.deliveries import SECRET, headers, push
from tests.support.paths import DEPLOY_CGI, ROOT
from tests.test_layers import LAYERS

PAGE = (ROOT / "deployctl" / "manual" / "architecture.md").read_text()
# Packages that a reader need not open, each for what its name says.
FOUNDATION = ("store", "system", "values", "git", "config")
# Runs a program and writes the files of deployctl of which a function was called, in the order of
# the first call. The bodies of modules and classes run when they are imported: they do not count.
TRACE = """
import inspect, os, sys, threading
root, report, program, *words = sys.argv[1:]
called = {}

def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED:
        if code.co_filename.startswith(root + "/deployctl/"):
            called.setdefault(code.co_filename.removeprefix(root + "/deployctl/"))

def write():
    sys.setprofile(None)
    with open(report, "w") as file:
        file.write("\\n".join(called))

def leave(status, leave=os._exit):
    write()
    leave(status)

os._exit = leave
sys.argv = [program, *words]
sys.path.insert(0, root)
source = open(program).read()
threading.setprofile(note)
sys.setprofile(note)
try:
    exec(compile(source, program, "exec"), {"__name__": "__main__"})
finally:
    write()
"""


def listed(heading: str) -> list[str]:
    """The files that the part below a heading names first in an item or a row."""
    (part,) = re.findall(rf"(?ms)^## {heading}\n(.*?)(?=^## )", PAGE)
    return re.findall(r"(?m)^(?:\d+\. |\| )`([\w./]+)`", part)


def traced(
    directory: Path, program: Path, *words: str, env: Mapping[str, str], stdin: bytes = b""
) -> list[str]:
    """Run a program -> the files below deployctl/ that ran, in the order of their first call."""
    report = directory / "called"
    subprocess.run(
        [sys.executable, "-c", TRACE, str(ROOT), str(report), str(program), *words],
        check=False,
        env=dict(env),
        input=stdin,
        capture_output=True,
        cwd=directory,
        timeout=60,
    )
    return report.read_text().splitlines()


def unlisted(ran: list[str], way: list[str]) -> list[str]:
    """The files that ran and that the page does not name."""
    known = {*way, *listed("Called on the way, need not be opened")}
    return [name for name in ran if name not in known and name.split("/")[0] not in FOUNDATION]


@pytest.fixture(scope="module")
def ways() -> dict[str, list[str]]:
    return {name: listed(f"The way of a {name}") for name in ("webhook", "deployment")}


def test_a_webhook_runs_the_files_that_are_listed(
    app: App, tmp_path: Path, ways: dict[str, list[str]]
) -> None:
    config = app.configure(id=1296269, webhook_secret=SECRET)
    app.push("1")
    body = json.dumps(push()).encode()
    env = {"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "POST", "PATH_INFO": ""}
    for name, value in headers(body).items():
        prefix = "" if name.startswith("content-") else "HTTP_"
        env[prefix + name.upper().replace("-", "_")] = value
    env = {**app.cli.env, **env, "DEPLOYCTL_CONFIG": str(config)}
    ran = traced(tmp_path, DEPLOY_CGI, env=env, stdin=body)
    app.cli.wait_for(1)  # the worker that it has started
    way = [name for name in ways["webhook"] if name != "deploy.cgi"]
    assert (len(ways["webhook"]) <= 10, unlisted(ran, way)) == (True, [])
    assert [name for name in way if name not in ran] == []


def test_a_deployment_runs_the_files_that_are_listed(
    app: App, tmp_path: Path, ways: dict[str, list[str]]
) -> None:
    """One that goes live and, so that the way back is there, one that fails its check."""
    program = ROOT / "deployctl" / "__main__.py"
    words = ("-c", str(app.cli.config), "deploy", "app")
    app.release("1")
    app.push("2")
    ran = traced(tmp_path, program, *words, env=app.cli.env)
    assert app.live == "2"
    app.push("bad")
    ran += traced(tmp_path, program, *words, env=app.cli.env)
    assert app.live == "2"
    way = ways["deployment"]
    assert (len(way) <= 12, unlisted(ran, way)) == (True, [])
    assert [name for name in way if name not in ran] == []


def test_every_file_that_is_listed_is_there_and_no_list_has_one_twice() -> None:
    second = listed("Called on the way, need not be opened")
    for way in ("webhook", "deployment"):
        names = [*listed(f"The way of a {way}"), *second]
        assert sorted(set(names)) == sorted(names)
        assert [name for name in names if not (ROOT / "deployctl" / name).is_file()] == [
            "deploy.cgi"
        ] * (way == "webhook")


def test_the_packages_are_listed_in_the_order_of_the_layers() -> None:
    ranks = {part: rank for rank, parts in enumerate(LAYERS.values()) for part in parts.split()}
    packages = listed("The packages")
    there = {path.parent.name for path in (ROOT / "deployctl").glob("*/__init__.py")}
    assert {*packages} == there
    assert [ranks[name] for name in packages] == sorted(ranks[name] for name in packages)
