"""A project with a pipeline file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import WriteConfig
from tests.support.pipelines import Project
from tests.support.upstream import Upstream


@pytest.fixture
def project(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Project:
    """A project that is not deployed yet."""
    return Project(tmp_path, upstream, write_config)


@pytest.fixture
def good(project: Project) -> Project:
    """A project whose first version is live."""
    project.push_pipeline("good")
    project.deploy()
    return project
