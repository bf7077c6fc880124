"""The manual's whole recipe for Python: a Tornado blog is deployed while a visitor reads it.

Real git, pipenv, supervisor, nginx, fcgiwrap and deploy.cgi, with the configuration from the
manual; only paths, ports and the account are replaced.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import randrange
from typing import Any

import pytest

from tests.conftest import WriteConfig
from tests.support import deliveries, recipes
from tests.support.cli import Cli
from tests.support.nginx import WebServer
from tests.support.servers import free_port, send_request
from tests.support.tools import DOWNLOADED, Supervisor, Tools
from tests.support.upstream import Upstream
from tests.support.workers import wait_until

MAX_REQUESTS = 20_000  # of one reader
HOST = "blog.example.org"
# Replaces ``asyncio.run`` in the recipe: every request is answered 500.
FAILING = """
class Application(Application):
    def __init__(self, handlers):
        super().__init__([(path, Failing) for path, _ in handlers])


class Failing(RequestHandler):
    def get(self):
        self.set_status(500)
        self.write("no such database")


asyncio.run"""


class Reader(threading.Thread):
    """A visitor that requests the page over and over, and keeps the answers."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.answers: list[str] = []
        self._stopping = threading.Event()

    def run(self) -> None:
        while len(self.answers) < MAX_REQUESTS and not self._stopping.wait(0.03):
            try:
                self.answers.append(read(self.port, "/"))
            except OSError as error:
                self.answers.append(repr(error))

    def stop(self) -> None:
        self._stopping.set()
        self.join()


class Blog:
    """A machine with the blog: nginx, deploy.cgi, two processes under supervisor; and its forge.

    ``port`` is nginx's, ``processes`` the first of the two ports of the blog's processes.
    """

    def __init__(
        self, cli: Cli, upstream: Upstream, web: WebServer, port: int, processes: int
    ) -> None:
        self.cli = cli
        self.upstream = upstream
        self.web = web
        self.port = port
        self.processes = processes

    def push(self, version: str, *, failing: bool = False) -> str:
        """Commit and push a version, and return its sha; a ``failing`` one answers 500."""
        text = recipes.block("Python", "python", {"Hello from the blog": f"version {version}"})
        text = text.replace("asyncio.run", FAILING.lstrip("\n")) if failing else text
        return self.upstream.commit({"blog.py": text}, f"Version {version}")

    def deliver(self, revision: str) -> dict[str, Any]:
        """Deliver a push of this revision, wait for the end of its deployment, and return it."""
        body = json.dumps(deliveries.push(after=revision)).encode()
        headers = deliveries.headers(body, number=revision)
        answer = self.web.request("POST", body=body, headers=headers)
        assert answer.status == 202, answer.body
        return self.wait_for(json.loads(answer.body)["deployment"])

    def wait_for(self, number: int) -> dict[str, Any]:
        """Wait until the deployment has ended, at most 120 seconds, and return it."""
        wait_until(lambda: self.show(number)["finished_at"] is not None, 120)
        return self.show(number)

    def show(self, number: int) -> dict[str, Any]:
        """Return the deployment as ``deployctl show`` prints it."""
        document: dict[str, Any] = self.cli.json("show", str(number))
        return document

    def versions(self) -> list[str]:
        """Return the answer of each of the two processes, requested without nginx."""
        return [read(self.processes + number, "/") for number in range(2)]


def read(port: int, path: str) -> str:
    answer = send_request(("127.0.0.1", port), "GET", path, headers={"Host": HOST})
    return f"{answer.status} {answer.body.decode().strip()}"


def free_pair() -> int:
    """Return a port whose number ends in 00, where it and the next one are free."""
    for _ in range(100):
        port = randrange(200, 600) * 100
        try:
            with socket.socket() as first, socket.socket() as second:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
        except OSError:
            continue
        return port
    raise AssertionError("no two free ports")


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    made = Tools(tmp_path)
    made.link("pipenv", "curl")
    yield made
    made.stop()


@pytest.fixture
def blog(
    tmp_path: Path,
    tools: Tools,
    upstream: Upstream,
    write_config: WriteConfig,
    web_server: Callable[..., WebServer],
) -> Iterator[Blog]:
    port, processes = free_port(), free_pair()
    tens, hundreds = str(processes // 10), str(processes // 100)
    name, keys = recipes.repo("Python", {":800$": f":{tens}$", ":80/": f":{port}/"})
    forge = {"full_name": "octo/Hello-World", "webhook_secret": deliveries.SECRET}
    config = write_config({name: {**keys, **forge, "url": upstream.url, "env": tools.env}})
    replacements = {"=80%": f"={hundreds}%", "/srv/blog": str(tmp_path / name), "user=deploy\n": ""}
    served = {":800": f":{tens}", "listen 80": f"listen 127.0.0.1:{port}"}
    supervisor = Supervisor(tools, recipes.block("Python", "ini", replacements))
    try:
        web = web_server(config, http=recipes.block("Python", "nginx", served))
        names = ("Pipfile", "Pipfile.lock")
        upstream.commit({name: (DOWNLOADED / "blog" / name).read_text() for name in names})
        yield Blog(Cli(tmp_path, config), upstream, web, port, processes)
    finally:
        supervisor.stop()


def test_no_request_fails_while_a_blog_is_deployed_and_a_broken_push_is_rolled_back(
    blog: Blog,
) -> None:
    blog.push("1")
    blog.cli.json("deploy", "blog")
    reader = Reader(blog.port)
    reader.start()
    try:
        second = blog.deliver(blog.push("2"))
        assert (second["status"], second["trigger"]) == ("succeeded", "webhook")
        assert blog.versions() == ["200 version 2"] * 2

        broken = blog.deliver(blog.push("3", failing=True))
        assert (broken["status"], broken["failure"]["stage"]) == ("rolled_back", "restart")
        assert "The requested URL returned error: 500" in broken["failure"]["tail"]
        assert blog.cli.json("status")["repos"][0]["live"]["revision"] == second["revision"]
        assert blog.versions() == ["200 version 2"] * 2

        blog.push("4")
        # The worker that the last delivery started may still run, and run this deployment.
        blog.cli.json("sync")
        last = blog.wait_for(broken["number"] + 1)
        assert (last["status"], last["trigger"]) == ("succeeded", "cron")
        assert blog.versions() == ["200 version 4"] * 2
    finally:
        reader.stop()
    assert set(reader.answers) == {f"200 version {version}" for version in (1, 2, 4)}
    assert 100 < len(reader.answers) < MAX_REQUESTS
