"""The built-in deployers with the real programs, as the manual's recipes use them.

systemd and Docker cannot run here: stand-ins log the exact arguments of each call.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support import recipes
from tests.support.app import App
from tests.support.cli import is_running
from tests.support.servers import free_port, send_request
from tests.support.tools import DOWNLOADED, Nginx, Supervisor, Tools
from tests.support.workers import wait_until

Files = Mapping[str, str | None]
Server = TypeVar("Server", Nginx, Supervisor)


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    made = Tools(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def keep() -> Iterator[Callable[[Server], Server]]:
    """``keep(server)`` returns the server and stops it at the end of the test."""
    kept: list[Nginx | Supervisor] = []

    def take(server: Server) -> Server:
        kept.append(server)
        return server

    yield take
    for server in kept:
        server.stop()


class Project:
    """A repo with this name and these keys, alone in repos.yml."""

    def __init__(self, app: App, tools: Tools, name: str, **keys: Any) -> None:
        self.app = app
        self.name = name
        self.path = app.directory / name
        env = {**tools.env, **keys.pop("env", {})}
        app.write({name: {"url": app.upstream.url, "env": env, **keys}})

    def deploy(self, files: Files, code: int = 0) -> dict[str, Any]:
        """Push these files, deploy with this exit code, and return the deployment."""
        self.app.upstream.commit(files)
        document: dict[str, Any] = self.app.cli.json("deploy", self.name, code=code)
        return document

    def output(self, deployment: Mapping[str, Any]) -> str:
        """Return the deployment's log."""
        return self.app.cli("logs", str(deployment["number"])).stdout

    @property
    def live(self) -> Path:
        """The directory of the live release."""
        return (self.path / "current").resolve()


def get(port: int, path: str = "/", host: str = "localhost") -> str:
    """Return status and body of the answer to a GET, separated by a blank."""
    answer = send_request(("127.0.0.1", port), "GET", path, headers={"Host": host})
    return f"{answer.status} {answer.body.decode().strip()}"


# ---- npm and gulp, served by nginx ----------------------------------------------------------


def site() -> dict[str, str]:
    """Return the files of a project that is built with gulp."""
    lock = {name: (DOWNLOADED / "site" / name).read_text() for name in NPM_FILES}
    return {**lock, "gulpfile.js": recipes.block("Static", "javascript", {})}


NPM_FILES = ("package.json", "package-lock.json")


def test_gulp_builds_what_nginx_serves_and_a_failed_build_does_not_go_live(
    app: App, tools: Tools, keep: Callable[[Nginx], Nginx]
) -> None:
    tools.link("node", "npm")
    port, conf = free_port(), app.directory / "site.conf"
    places = {"/srv/site": str(app.directory / "site"), "listen 80": f"listen 127.0.0.1:{port}"}
    conf.write_text(recipes.block("Static", "nginx", places))
    keep(Nginx(tools, free_port(), conf))
    name, keys = recipes.repo("Static", {":80/": f":{port}/"})
    # npm leaves out gulp, a devDependency, in production, unless it is told not to.
    project = Project(app, tools, name, **keys, env={"NODE_ENV": "production"})
    for version in ("one", "two"):
        project.deploy({**site(), "src/a.txt": version})
        assert get(port, "/a.txt", "www.example.org") == f"200 {version}"
    broken = "exports.update = () => { throw new Error('no such colour'); };\n"
    failed = project.deploy({"gulpfile.js": broken}, code=1)
    assert (failed["failure"]["stage"], failed["failure"]["exit_code"]) == ("update", 1)
    assert "no such colour" in failed["failure"]["tail"]
    assert get(port, "/a.txt", "www.example.org") == "200 two"


def test_npm_installs_from_the_lock_file_and_runs_the_build_script_if_there_is_one(
    app: App, tools: Tools
) -> None:
    tools.link("node", "npm")
    project = Project(app, tools, "site", deployer="npm")
    package = {"name": "site", "scripts": {"build": 'echo "$CI" >built'}}
    lock = {"name": "site", "lockfileVersion": 3, "packages": {"": {"name": "site"}}}
    project.deploy({"package.json": json.dumps(package), "package-lock.json": json.dumps(lock)})
    assert (project.live / "built").read_text() == "true\n"
    project.deploy({"package.json": json.dumps({"name": "site"})})
    assert not (project.live / "built").exists()
    failed = project.deploy({"package-lock.json": None}, code=1)
    assert failed["failure"]["message"] == "step 1 failed: exit code 1"
    assert "`npm ci` command can only install with an existing package-lock" in project.output(
        failed
    )


# ---- nginx ----------------------------------------------------------------------------------


def test_a_config_that_nginx_refuses_is_rolled_back_and_the_old_one_stays_in_use(
    app: App, tools: Tools, keep: Callable[[Nginx], Nginx]
) -> None:
    name, keys = recipes.repo("Static", {}, 1)
    port = free_port()
    project = Project(app, tools, name, **keys)

    def config(answer: str, more: str = "") -> Files:
        location = f'location / {{ return 200 "{answer}"; }}'
        return {"sites/a.conf": f"server {{ listen 127.0.0.1:{port}; {location} {more} }}\n"}

    keep(Nginx(tools, free_port(), project.path / "current" / "sites" / "*.conf"))
    project.deploy(config("one"))
    wait_until(lambda: answers(port) == "200 one")
    project.deploy(config("two"))
    wait_until(lambda: answers(port) == "200 two")

    # The syntax is right: `nginx -s reload` alone would have ended with 0.
    back = project.deploy(config("three", "access_log /nonexistent/log;"), code=3)
    assert back["failure"]["stage"] == "restart"
    assert back["failure"]["tail"].splitlines()[0] == (
        'nginx: [emerg] open() "/nonexistent/log" failed (2: No such file or directory)'
    )
    assert answers(port) == "200 two"


def answers(port: int) -> str:
    """Return status and body of the answer to GET /, or ``nothing`` if there is none."""
    try:
        return get(port)
    except OSError:
        return "nothing"


@pytest.mark.parametrize(("uid", "calls"), [(0, []), (1000, ["sudo -n nginx -t -q"])])
def test_an_account_other_than_root_calls_sudo_with_exactly_what_the_sudoers_line_allows(
    app: App, tools: Tools, uid: int, calls: list[str]
) -> None:
    tools.write("id", f"#!/bin/sh\necho {uid}\n")
    for program in ("nginx", "systemctl"):
        tools.stand_in(program)
    Project(app, tools, "proxy", deployer="nginx").deploy({})
    nginx = ["nginx -t -q", "nginx -s reload"]
    assert tools.calls() == (with_sudo(nginx) if uid else nginx)
    Project(app, tools, "api.example", deployer="systemd").deploy({})
    systemctl = ["systemctl restart api.example"]
    assert tools.calls() == (with_sudo(systemctl) if uid else systemctl)
    assert allowed("Static") == nginx


def with_sudo(calls: list[str]) -> list[str]:
    """Return for each call that of sudo, and then the call that sudo makes."""
    return [logged for call in calls for logged in (f"sudo -n {call}", call)]


def allowed(title: str) -> list[str]:
    """Return the commands in a recipe's sudoers line, without their directories."""
    (line,) = recipes.blocks(title, "sudoers")
    assert line.startswith("deploy ALL=(root) NOPASSWD: /")
    commands = line.strip().partition(": ")[2].split(", ")
    return [re.sub(r"^/\S+/", "", command) for command in commands]


# ---- supervisor -----------------------------------------------------------------------------

PROGRAM = """
[program:pair]
command=/bin/sh -c 'exec ./serve'
process_name=%(program_name)s_%(process_num)02d
numprocs=2
directory={current}
startsecs=1
startretries=0
"""
SERVE = "#!/bin/sh\necho $$ {version} >>../../started\nexec sleep 1000\n"
BROKEN = "#!/bin/sh\necho 'no such database' >&2\nexit 3\n"


def test_supervisor_restarts_processes_one_by_one_and_stops_at_one_that_does_not_start(
    app: App, tools: Tools, keep: Callable[[Supervisor], Supervisor]
) -> None:
    project = Project(app, tools, "pair", deployer="supervisor")
    keep(Supervisor(tools, PROGRAM.format(current=project.path / "current")))

    def started() -> list[list[str]]:
        return [line.split() for line in (project.path / "started").read_text().splitlines()]

    project.deploy({"serve": SERVE.format(version=1)})
    # supervisor retries by itself and so may start the first release before the restart step does:
    # how often it was started is not asserted.
    old = started()
    assert {version for _, version in old} == {"1"}
    project.deploy({"serve": SERVE.format(version=2)})
    new = started()[len(old) :]
    assert [version for _, version in new] == ["2", "2"]
    assert {is_running(int(pid)) for pid, _ in old} == {False}
    assert {is_running(int(pid)) for pid, _ in new} == {True}

    back = project.deploy({"serve": BROKEN}, code=3)
    assert (back["status"], back["failure"]["stage"]) == ("rolled_back", "restart")
    tail = back["failure"]["tail"].splitlines()
    first = tail.index("pair:pair_00: ERROR (spawn error)")
    assert tail[first - 1] == "pair:pair_00: stopped"
    # The log may begin with what supervisor wrote when it tried before the first release.
    assert [line for line in tail[first + 1 :] if line][-1] == "no such database"
    assert "pair:pair_01: stopped" not in tail
    assert [version for _, version in started()[len(old) :]] == ["2"] * 4


def test_an_unknown_group_and_a_supervisor_that_does_not_run_are_reported(
    app: App, tools: Tools, keep: Callable[[Supervisor], Supervisor]
) -> None:
    project = Project(app, tools, "nobody", deployer="supervisor")
    server = keep(Supervisor(tools, ""))
    assert project.deploy({}, code=1)["failure"]["tail"] == "nobody: ERROR (no such group)"
    server.stop()
    socket = tools.sockets / "supervisor"
    assert project.deploy({}, code=1)["failure"]["tail"] == f"unix://{socket} no such file"


# ---- pm2 ------------------------------------------------------------------------------------

SERVER = """
const answer = (request, response) => response.end('{version} ' + process.env.DEPLOYCTL_REVISION);
require('http').createServer(answer).listen(process.env.PORT, '127.0.0.1');
"""
CRASH = "throw new Error('no such database');\n"


class Shop(Project):
    """The repo of the recipe for Node."""

    def __init__(self, app: App, tools: Tools, **changes: Any) -> None:
        tools.link("node", "npm", "pm2")
        self.port, smoke = free_port(), free_port()
        self.paths = {"/srv/shop": str(app.directory / "shop")}
        name, keys = recipes.repo("Node", {"3999": str(smoke), "3000": str(self.port)})
        super().__init__(app, tools, name, **{**keys, **changes})

    def files(self, server: str, ecosystem: str | None = None) -> Files:
        """Return the project's files; ``ecosystem`` replaces the recipe's file for pm2."""
        lock = {"name": "shop", "lockfileVersion": 3, "packages": {"": {"name": "shop"}}}
        return {
            "package.json": json.dumps({"name": "shop"}),
            "package-lock.json": json.dumps(lock),
            "ecosystem.config.js": ecosystem or recipes.block("Node", "javascript", self.paths),
            "server.js": server,
        }


def test_pm2_starts_the_first_release_and_reloads_for_the_next(app: App, tools: Tools) -> None:
    shop = Shop(app, tools)
    for version in ("1", "2"):
        made = shop.deploy(shop.files(SERVER.format(version=version)))
        assert get(shop.port) == f"200 {version} {made['revision']}"
    failed = shop.deploy(shop.files(CRASH), code=1)
    assert (failed["status"], failed["failure"]["stage"]) == ("failed", "smoke")
    assert "no such database" in shop.output(failed)
    assert get(shop.port) == f"200 2 {made['revision']}"


def test_a_restart_by_pm2_fails_if_no_process_stays_up(app: App, tools: Tools) -> None:
    shop = Shop(app, tools, stages=[], healthcheck={"command": "true"})
    good = shop.deploy(shop.files(SERVER.format(version="1")))
    back = shop.deploy(shop.files(CRASH), code=3)
    assert back["failure"]["stage"] == "restart"
    assert "pm2: process 0 of shop does not stay up\n" in shop.output(back)
    assert get(shop.port) == f"200 1 {good['revision']}"


def test_a_restart_by_pm2_fails_if_pm2_still_runs_the_old_release(app: App, tools: Tools) -> None:
    shop = Shop(app, tools, stages=[], healthcheck={"command": "true"})
    without_cwd = "module.exports = {apps: [{name: 'shop', script: 'server.js'}]};\n"
    with_port = {"server.js": SERVER.replace("process.env.PORT", str(shop.port))}
    first = shop.deploy({**shop.files("", without_cwd), **with_port})
    old = shop.live
    back = shop.deploy({"server.js": "setInterval(() => {}, 1000);\n"}, code=3)
    assert back["failure"]["tail"].splitlines()[0]
    assert (
        f"pm2 runs shop in {old}, for ever: set its cwd to {shop.path / 'current'}, then once: "
        "pm2 delete shop\n"
    ) in shop.output(back)
    assert first["revision"] in get(shop.port)


# ---- pipenv ---------------------------------------------------------------------------------


def test_pipenv_installs_into_the_release_and_refuses_an_outdated_lock_file(
    app: App, tools: Tools
) -> None:
    tools.link("pipenv")
    name, keys = recipes.repo("Python", {}, 1)
    project = Project(app, tools, name, **keys)
    names = ("Pipfile", "Pipfile.lock")
    files = {name: (DOWNLOADED / "blog" / name).read_text() for name in names}
    write_prefix = '#!/bin/sh\npython -c "import sys, tornado; print(sys.prefix)" >"$1"\n'
    project.deploy({**files, "restart.sh": write_prefix})
    assert (project.live / "prod").read_text() == f"{project.live}/.venv\n"
    newer = files["Pipfile"].replace('tornado = "*"', 'tornado = "*"\nrequests = "*"')
    failed = project.deploy({"Pipfile": newer}, code=1)
    assert failed["failure"]["stage"] == "install"
    assert "Aborting deploy" in project.output(failed)
    assert [*tools.home.glob(".local/share/virtualenvs/*")] == []


# ---- systemd and Docker, as stand-ins -------------------------------------------------------


def test_systemd_units_are_restarted_one_by_one_with_a_request_to_each_in_between(
    app: App, tools: Tools
) -> None:
    for program in ("systemctl", "curl", "pipenv"):
        tools.stand_in(program)
    name, keys = recipes.repo("systemd", {})
    Project(app, tools, name, **{**keys, "healthcheck": {"command": "true"}}).deploy({})
    calls = [call for call in tools.calls() if not call.startswith("sudo")]
    request = "curl -sS --fail --output /dev/null --max-time 5 --retry 5 --retry-delay 1"
    assert calls == [
        "pipenv install --deploy",
        "systemctl restart api@8100",
        f"{request} --retry-connrefused http://127.0.0.1:8100/ping",
        "systemctl restart api@8101",
        f"{request} --retry-connrefused http://127.0.0.1:8101/ping",
    ]
    assert allowed("systemd") == [calls[1], calls[3]]


def test_systemd_run_starts_a_user_unit_in_the_new_release(app: App, tools: Tools) -> None:
    tools.stand_in("systemctl", "sys.exit('--quiet' not in sys.argv)")  # nothing to stop at first
    tools.stand_in("systemd-run")
    name, keys = recipes.repo("systemd", {}, 1)
    keys["healthcheck"]["stable_for"] = 0
    Project(app, tools, name, **keys).deploy({})
    command = "systemd-run --user --quiet --collect --unit=bot --same-dir"
    assert tools.calls() == [
        "systemctl --user stop bot",
        f"{command} --property=Restart=always ./bot.sh",
        "systemctl --user --quiet is-active bot",
    ]


def test_compose_builds_before_the_switch_and_builds_the_old_release_again_on_rollback(
    app: App, tools: Tools
) -> None:
    tools.stand_in("docker")
    _, keys = recipes.repo("Docker", {})
    healthcheck = {"command": "test ! -e bad", "deadline": 2, "interval": 1, "stable_for": 0}
    changed = {"shared_files": [], "healthcheck": healthcheck}
    project = Project(app, tools, "wiki.example", **{**keys, **changed})
    build = "docker compose -p wiki-example build"
    up = "docker compose -p wiki-example up -d --build --remove-orphans"
    project.deploy({})
    assert tools.calls() == [build, up]
    good = project.live
    project.deploy({"bad": ""}, code=3)
    lines = [json.loads(line) for line in tools.log.read_text().splitlines()]
    assert [" ".join(words[:-1]) for words in lines] == [build, up, up]
    assert [Path(words[-1]) == good for words in lines] == [False, False, True]
    assert all(os.path.isabs(words[-1]) for words in lines)
