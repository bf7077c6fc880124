"""End to end: a push is delivered, the right version goes live, a bad one is rolled back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WriteConfig
from tests.support import deliveries
from tests.support.bark import Bark
from tests.support.cli import Cli
from tests.support.nginx import WebServer
from tests.support.servers import Response
from tests.support.service import Service
from tests.support.upstream import Upstream, git
from tests.support.workers import wait_until

ZEROS = "0" * 40


class Server:
    """A machine with nginx, deploy.cgi and a service; and the forge's repository."""

    def __init__(self, config: Path, web: WebServer, upstream: Upstream, service: Service) -> None:
        self.config = config
        self._cli = Cli(config.parent, config)
        self.web = web
        self.upstream = upstream
        self.service = service
        self._deliveries = 0

    def deployctl(self, *words: str) -> tuple[int, Any]:
        """Run a command with ``--json``; return its exit code and its document."""
        done = self._cli(*words, "--json")
        return done.code, done.json

    def send(self, document: dict[str, Any], **about: Any) -> tuple[int, dict[str, Any]]:
        """Post a delivery as GitHub does; return HTTP status and JSON object of the answer."""
        self._deliveries += 1
        body = json.dumps(document).encode()
        headers = deliveries.headers(body, **{"number": f"d-{self._deliveries}", **about})
        response: Response = self.web.request("POST", body=body, headers=headers)
        return response.status, json.loads(response.body)

    def push(self, version: str) -> dict[str, Any]:
        """Commit and push a version, deliver it, and return the deployment once it has ended."""
        revision = self.upstream.commit(Service.files(version), f"Version {version}")
        status, answer = self.send(deliveries.push(after=revision))
        assert (status, answer["result"]) == (202, "queued")
        return self.wait_for(answer["deployment"])

    def wait_for(self, number: int) -> dict[str, Any]:
        """Wait until the deployment has ended, at most 60 seconds, and return it."""
        wait_until(lambda: self.show(number)["finished_at"] is not None, 60)
        return self.show(number)

    def show(self, number: int) -> dict[str, Any]:
        """Return the deployment as ``deployctl show`` prints it."""
        document: dict[str, Any] = self.deployctl("show", str(number))[1]
        return document


@pytest.fixture
def server(
    tmp_path: Path,
    upstream: Upstream,
    write_config: WriteConfig,
    web_server: Callable[..., WebServer],
    phone: Bark,
) -> Iterator[Server]:
    service = Service(tmp_path / "app" / "shared" / "run")
    config = write_config(
        {
            "app": {
                "url": upstream.url,
                "id": 1296269,
                "webhook_secret": deliveries.SECRET,
                "shared_dirs": ["run"],
                "stages": [{"name": "test", "run": "grep -q . version"}],
                "restart": "./app.sh",
                "healthcheck": {"url": service.ping, "deadline": 3, "interval": 0.1},
                "env": {"PORT": service.port},
                "notify": ["phone"],
            }
        },
        channels={"phone": phone.url()},
    )
    yield Server(config, web_server(config), upstream, service)
    service.stop()


def test_a_good_push_goes_live_and_a_bad_one_never_stays(server: Server, phone: Bark) -> None:
    first, second = server.push("1"), server.push("2")
    assert [first["status"], second["status"]] == ["succeeded", "succeeded"]
    assert server.service.answer() == "2"

    bad = server.push("bad")
    assert (bad["status"], bad["previous_revision"]) == ("rolled_back", second["revision"])
    assert bad["failure"]["stage"] == "healthcheck"
    assert "answered 500, wanted 2xx" in bad["failure"]["message"]
    assert bad["failure"]["tail"] == "bad is sick"
    assert server.service.answer() == "2"

    _, history = server.deployctl("history", "app")
    assert [deployment["status"] for deployment in history["deployments"]] == [
        "rolled_back",
        "succeeded",
        "succeeded",
    ]
    assert {deployment["trigger"] for deployment in history["deployments"]} == {"webhook"}
    assert {deployment["actor"] for deployment in history["deployments"]} == {"octocat"}

    wait_until(lambda: len(phone.posts) >= 3)
    short = [deployment["revision"][:7] for deployment in (first, second)]
    assert phone.titles == [
        f"app: deployed {short[0]}",
        f"app: deployed {short[1]}",
        f"app: rolled back to {short[1]}",
    ]
    body = phone.posts[2][1]["body"]
    for words in ("Version bad", "by octocat (webhook)", "failed in healthcheck", "bad is sick"):
        assert words in body


def test_the_revision_that_was_rolled_back_is_held_until_the_branch_moves(server: Server) -> None:
    server.push("1")
    bad = server.push("bad")
    _, status = server.deployctl("status", "app")
    assert status["repos"][0]["hold"]["revision"] == bad["revision"]

    status_code, answer = server.send(deliveries.push(after=bad["revision"]))
    assert (status_code, answer["result"]) == (200, "ignored")
    code, refused = server.deployctl("deploy", "app")
    assert code == 5
    assert "deployctl resume app" in refused["error"]["message"]

    assert server.push("2")["status"] == "succeeded"
    _, status = server.deployctl("status", "app")
    assert status["repos"][0]["hold"] is None


def test_the_command_rollback_goes_back_and_sends_a_notice(server: Server, phone: Bark) -> None:
    first, second = server.push("1"), server.push("2")
    code, back = server.deployctl("rollback", "app")
    assert (code, back["status"], back["task"]) == (0, "succeeded", "rollback")
    assert (back["revision"], back["rollback_of"]) == (first["revision"], second["number"])
    assert server.service.answer() == "1"
    assert phone.titles[-1].startswith(f"app: rolled back to {first['revision'][:7]} by ")
    assert server.deployctl("rollback", "app")[0] == 5


@pytest.mark.parametrize(
    ("about", "document", "status", "result"),
    [
        ({"event": "ping"}, {"zen": "Keep it simple."}, 200, "pong"),
        ({}, {"ref": "refs/heads/other"}, 200, "ignored"),
        ({}, {"ref": "refs/heads/x/main"}, 200, "ignored"),
        ({}, {"ref": "refs/tags/v1"}, 200, "ignored"),
        ({}, {"deleted": True, "after": ZEROS}, 200, "ignored"),
        ({"event": "create"}, {"ref": "main", "ref_type": "branch"}, 200, "ignored"),
        ({"event": "issues"}, {}, 200, "ignored"),
        ({"secret": "wrong"}, {}, 401, "refused"),
        ({"secret": None}, {}, 401, "refused"),
        ({}, {"repository": {"id": 1, "full_name": "octo/other"}}, 401, "refused"),
    ],
)
def test_a_delivery_that_is_no_push_to_the_branch_deploys_nothing(
    server: Server, about: dict[str, Any], document: dict[str, Any], status: int, result: str
) -> None:
    answer = server.send(deliveries.push(**document), **about)
    assert (answer[0], answer[1]["result"]) == (status, result)
    assert server.deployctl("history")[1] == {"deployments": []}


def test_pushes_during_a_deployment_become_one_deployment_of_the_newest_commit(
    server: Server,
) -> None:
    server.upstream.commit(Service.files("1"), "Version 1")
    slow = server.config.read_text().replace("grep -q . version", "sleep 1.5")
    server.config.write_text(slow)
    numbers = []
    for version in ("2", "3", "4"):
        revision = server.upstream.commit({"version": f"{version}\n"}, f"Version {version}")
        numbers.append(server.send(deliveries.push(after=revision))[1]["deployment"])
        wait_until(lambda: server.show(numbers[0])["status"] != "queued")
    ended = [server.wait_for(number) for number in numbers]
    assert [deployment["status"] for deployment in ended] == [
        "succeeded",
        "superseded",
        "succeeded",
    ]
    assert ended[2]["revision"] == server.upstream.head
    assert server.service.answer() == "4"


def test_a_repeated_delivery_deploys_again_only_if_its_deployment_failed(server: Server) -> None:
    revision = server.upstream.commit(Service.files("1"), "Version 1")
    document = deliveries.push(after=revision)
    first = server.send(document, number="same")[1]["deployment"]
    assert server.wait_for(first)["status"] == "succeeded"
    status, answer = server.send(document, number="same")
    assert (status, answer["result"], answer["deployment"]) == (200, "duplicate", first)

    revision = server.upstream.commit({"version": ""}, "Empty")
    document = deliveries.push(after=revision)
    failed = server.send(document, number="other")[1]["deployment"]
    assert server.wait_for(failed)["failure"]["stage"] == "test"
    retried = server.send(document, number="other")
    assert (retried[0], retried[1]["result"]) == (202, "queued")
    assert server.wait_for(retried[1]["deployment"])["status"] == "failed"
    assert server.service.answer() == "1"


def test_a_clone_made_by_hand_is_used_in_place(
    tmp_path: Path, upstream: Upstream, write_config: WriteConfig, web_server: Callable[..., Any]
) -> None:
    service = Service(tmp_path / "blog" / "run")
    old = upstream.commit({**Service.files("1"), ".gitignore": "run/\n"}, "Version 1")
    git(tmp_path, "clone", "-q", upstream.url, "blog")
    clone = tmp_path / "blog"
    (clone / "run").mkdir()
    (clone / "uploads.txt").write_text("a visitor's\n")
    (clone / "version").write_text("edited by hand\n")
    inode = (clone / ".git").stat().st_ino
    config = write_config(
        {
            "blog": {
                "url": upstream.url,
                "path": str(clone),
                "strategy": "in_place",
                "full_name": "octo/Hello-World",
                "webhook_secret": deliveries.SECRET,
                "restart": "./app.sh",
                "healthcheck": {"url": service.ping, "deadline": 3, "interval": 0.1},
                "env": {"PORT": service.port},
            }
        }
    )
    server = Server(config, web_server(config), upstream, service)
    try:
        good = server.push("2")
        assert (good["status"], good["previous_revision"]) == ("succeeded", old)
        assert service.answer() == "2"
        assert (clone / ".git").stat().st_ino == inode
        assert (clone / "uploads.txt").read_text() == "a visitor's\n"
        saved = f"refs/deployctl/saved/{good['number']}:version"
        assert git(clone, "show", saved) == "edited by hand"

        bad = server.push("bad")
        assert bad["status"] == "rolled_back"
        assert git(clone, "rev-parse", "HEAD") == good["revision"]
        assert service.answer() == "2"

        code, back = server.deployctl("rollback", "blog")
        assert (code, back["revision"]) == (0, old)
        assert service.answer() == "1"
    finally:
        service.stop()
