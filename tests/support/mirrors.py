"""Mirrors of repositories that tests fetch from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployctl.errors import GitError
from deployctl.git.mirror import Mirror
from deployctl.store.database import prepare_state_dir
from deployctl.values.repo import Repo

MAIN = "refs/heads/main"


def mirror_of(tmp_path: Path, url: str, **keys: Any) -> Mirror:
    """Return the mirror of a repo with this url and these keys, in a new state directory."""
    state = tmp_path / "state"
    prepare_state_dir(str(state))
    repo = Repo(name="blog", url=url, path=str(tmp_path / "blog"), **keys)
    return Mirror(repo, str(state))


def export(mirror: Mirror, revision: str, directory: Path) -> Path:
    """Write the files of a commit to a new directory, and return that."""
    directory.mkdir()
    mirror.export(revision, str(directory))
    return directory


def message_of(call: Callable[..., object], *arguments: object) -> str:
    """Return the message of the GitError that the call must raise."""
    with pytest.raises(GitError) as caught:
        call(*arguments)
    return str(caught.value)


def replacement_leftovers(mirror: Mirror) -> list[str]:
    """Return the leftovers of a replacement of the mirror in the directory of mirrors."""
    names = os.listdir(Path(mirror.directory).parent)
    return [name for name in names if name.endswith((".new", ".old"))]
