"""Fixtures for all tests: an isolated home and network, a repository, repos.yml, web servers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployctl.config.locate import default_state_dir
from tests.support.app import App
from tests.support.bark import Bark, bark
from tests.support.cli import Gate
from tests.support.nginx import WebServer
from tests.support.paths import ROOT
from tests.support.upstream import Upstream

REAL_STATE = default_state_dir()
REMOVED_PREFIXES = ("DEPLOYCTL_", "XDG_", "GIT_", "SSH_", "HTTP_", "PYTEST_ADDOPTS")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PYTHONPATH": str(ROOT),
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}

WriteConfig = Callable[..., Path]

# A shell in the background, or nohup, starts the tests with some signals ignored. Programs that the
# tests start would inherit that, and ignore the signals that the tests send them.
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(_number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _isolated(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Keep the account's environment out of the test, and the test out of the account's state.

    deployctl takes the home directory from the passwd entry, so no variable can move the default
    state directory: each test must set ``state_dir``. One that does not fails here.
    """
    for name in [*os.environ]:
        if name.startswith(REMOVED_PREFIXES) or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    before = _real_state()
    yield
    assert _real_state() == before, "the test used the real state directory: set state_dir"


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's own process connect to loopback and Unix sockets only."""
    connect = socket.socket.connect

    def connect_to_loopback(self: socket.socket, address: Any) -> None:
        allowed = self.family == socket.AF_UNIX or address[0] in ("::1", "localhost")
        if not allowed and not address[0].startswith("127."):
            raise OSError(f"a test tried to reach {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_to_loopback)


@pytest.fixture
def upstream(tmp_path: Path, _first_upstream: Path) -> Upstream:
    """A repository with one commit on main."""
    if not any(_first_upstream.iterdir()):
        Upstream(_first_upstream).commit({"README": "hello\n"}, "first")
    shutil.copytree(_first_upstream, tmp_path, dirs_exist_ok=True)
    return Upstream(tmp_path)


@pytest.fixture(scope="session")
def _first_upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the upstream that tests get copies of; the first of them makes it."""
    return tmp_path_factory.mktemp("upstream")


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    """``write_config({"app": {...}}, max_running=2)`` writes a repos.yml and returns its path.

    A repo's ``url`` and ``path`` and the ``state_dir`` are below ``tmp_path`` unless given.
    """

    def write(repos: Mapping[str, Mapping[str, Any]], **top: Any) -> Path:
        filled = {
            name: {"url": str(tmp_path / "upstream.git"), "path": str(tmp_path / name), **repo}
            for name, repo in repos.items()
        }
        document = {"state_dir": str(tmp_path / "state"), **top, "repos": filled}
        path = tmp_path / "repos.yml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> App:
    """A repo called ``app`` in a repos.yml; nothing is deployed yet."""
    return App(tmp_path, upstream, write_config)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A step's command that waits; it goes on at the end of the test."""
    made = Gate(tmp_path)
    yield made
    made.open()


@pytest.fixture
def phone() -> Iterator[Bark]:
    """A server that receives notices as that of Bark does."""
    with bark() as server:
        yield server


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[Callable[..., WebServer]]:
    """``web_server(config, script=..., directives=...)`` starts nginx and fcgiwrap."""
    started: list[WebServer] = []

    def start(config: Path, **options: Any) -> WebServer:
        directory = tmp_path / f"web{len(started)}"
        directory.mkdir()
        started.append(WebServer(directory, config, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def _real_state() -> float | None:
    """Return the modification time of the account's own state directory; None: there is none."""
    try:
        return os.stat(REAL_STATE).st_mtime
    except FileNotFoundError:
        return None
