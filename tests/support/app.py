"""A test repo called ``app``, with its upstream, its repos.yml and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cli import Cli, Done
from tests.support.upstream import Upstream

# An empty file ``version`` fails the stage; one that contains ``bad`` fails the health check.
USUAL: dict[str, Any] = {
    "stages": [{"name": "test", "run": "grep . version"}],
    "healthcheck": {"command": "! grep bad version", "deadline": 2, "interval": 1, "stable_for": 0},
}


class App:
    """The repo ``app``: push to it, configure it, deploy it, and read what is live."""

    def __init__(
        self, directory: Path, upstream: Upstream, write_config: Callable[..., Path]
    ) -> None:
        self.directory = directory
        self.upstream = upstream
        self.path = directory / "app"
        self.state = directory / "state"
        self._write_config = write_config
        self.cli = Cli(directory, self.configure())

    def configure(self, top: dict[str, Any] | None = None, **keys: Any) -> Path:
        """Write repos.yml with the repo ``app`` and return its path.

        The repo has the keys of ``USUAL``, changed by ``keys``; a key whose value is None is left
        out. ``top`` are keys of the top level.
        """
        repo = {"url": self.upstream.url, **USUAL, **keys}
        given = {key: value for key, value in repo.items() if value is not None}
        return self.write({"app": given}, **(top or {}))

    def write(self, repos: dict[str, Any], **top: Any) -> Path:
        """Write repos.yml with these repos and return its path."""
        return self._write_config(repos, **top)

    def push(self, version: str, message: str = "") -> str:
        """Commit and push a file ``version`` with this text; return the commit's sha."""
        return self.upstream.commit({"version": f"{version}\n"}, message or f"Version {version}")

    def deploy(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run ``deployctl deploy app``, assert its exit code, and return its JSON document."""
        document: dict[str, Any] = self.cli.json("deploy", "app", *words, code=code)
        return document

    def release(self, version: str) -> dict[str, Any]:
        """Push a version, deploy it, and return the JSON document of the deployment."""
        self.push(version)
        return self.deploy()

    def refused(self, *words: str) -> str:
        """Run a command that must end with exit code 5, and return its error message."""
        done: Done = self.cli(*words)
        assert done.code == 5, done
        return done.error

    @property
    def status(self) -> dict[str, Any]:
        """The repo's entry of ``deployctl status --json``."""
        document: dict[str, Any] = self.cli.json("status", "app")["repos"][0]
        return document

    @property
    def live(self) -> str | None:
        """The live version: the text of its file ``version``, or None if there is none."""
        current = self.path / "current"
        version = (current if current.is_symlink() else self.path) / "version"
        return version.read_text().strip() if version.exists() else None

    def snapshot(self) -> list[tuple[str, float]]:
        """Return path and modification time of every file below the repo's path and the state.

        Mirrors are left out.
        """
        paths = [*self.path.rglob("*"), *self.state.rglob("*")]
        return sorted(
            (str(path), path.lstat().st_mtime)
            for path in paths
            if "mirrors" not in path.parts and path.is_file()
        )


def roll_back(app: App, *words: str, code: int = 0) -> dict[str, Any]:
    """Run ``deployctl rollback app``, assert its exit code, and return its JSON document."""
    document: dict[str, Any] = app.cli.json("rollback", "app", *words, code=code)
    return document
