"""A mirror of the repository that the tests push to."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployctl.git.mirror import Mirror
from tests.support.mirrors import mirror_of
from tests.support.upstream import Upstream


@pytest.fixture
def mirror(tmp_path: Path, upstream: Upstream) -> Mirror:
    return mirror_of(tmp_path, upstream.url)
