"""One repo called ``app`` on a machine of its own, seen through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cli import Cli, Done
from tests.support.upstream import Upstream

# A version that is empty fails its stage, one that is called bad fails its health check.
USUAL: dict[str, Any] = {
    "stages": [{"name": "test", "run": "grep . version"}],
    "healthcheck": {"command": "! grep bad version", "deadline": 0.2, "interval": 0.1},
}


class App:
    """What is pushed, what is configured, what is live."""

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
        """Write repos.yml: the usual repo, or one with other keys (None: without that key)."""
        repo = {"url": self.upstream.url, **USUAL, **keys}
        kept = {key: value for key, value in repo.items() if value is not None}
        return self.write({"app": kept}, **(top or {}))

    def write(self, repos: dict[str, Any], **top: Any) -> Path:
        """Write a repos.yml with these repos."""
        return self._write_config(repos, **top)

    def push(self, version: str, message: str = "") -> str:
        """Commit a version -> its sha."""
        return self.upstream.commit({"version": f"{version}\n"}, message or f"Version {version}")

    def deploy(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Deploy -> the document, where it ends with this code."""
        document: dict[str, Any] = self.cli.json("deploy", "app", *words, code=code)
        return document

    def release(self, version: str) -> dict[str, Any]:
        """Push a good version and deploy it."""
        self.push(version)
        return self.deploy()

    def refused(self, *words: str) -> str:
        """What a call says that ends with 5."""
        done: Done = self.cli(*words)
        assert done.code == 5, done
        return done.error

    @property
    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = self.cli.json("status", "app")["repos"][0]
        return document

    @property
    def live(self) -> str | None:
        """The version that answers; None where nothing is live."""
        current = self.path / "current"
        found = (current if current.is_symlink() else self.path) / "version"
        return found.read_text().strip() if found.exists() else None

    def snapshot(self) -> list[tuple[str, float]]:
        """Every file of the record and of what is deployed, with its time of change."""
        places = [*self.path.rglob("*"), *self.state.rglob("*")]
        return sorted(
            (str(place), place.lstat().st_mtime)
            for place in places
            if "mirrors" not in place.parts and place.is_file()
        )
