"""A project with a pipeline file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.app import App

FILE = ".deployctl.yml"


class Project(App):
    """An app whose repos.yml has no stages and no health check, but names a pipeline file."""

    def push_pipeline(self, version: str, **keys: Any) -> str:
        """Commit a version with these keys in its pipeline file, and return the sha."""
        return self.commit(yaml.safe_dump(keys or {"x-nothing": 1}), version)

    def commit(self, text: str, version: str = "1") -> str:
        return self.upstream.commit({FILE: text, "version": f"{version}\n"}, f"Version {version}")

    def configure(self, top: dict[str, Any] | None = None, **keys: Any) -> Path:
        bare = {"stages": None, "healthcheck": None, "pipeline_file": FILE}
        return super().configure(top, **{**bare, **keys})

    def plan(self) -> list[str]:
        """Return the lines of a dry run that name the source of their step."""
        done = self.cli("deploy", "app", "-n")
        assert done.code == 0, done
        return [line for line in done.stdout.splitlines() if line.endswith("]")]

    def stages(self, document: Mapping[str, Any]) -> dict[str, str]:
        return {stage["name"]: stage["status"] for stage in document["stages"]}

    @property
    def notes(self) -> list[str]:
        """The lines that steps have noted since this was read last."""
        path = self.directory / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def note(self, words: str) -> str:
        """Return a shell command that notes a line."""
        return f'echo "{words}" >> {self.directory}/notes'
