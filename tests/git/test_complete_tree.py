"""Tests of deploying one directory of a repository (``dir``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployctl.errors import GitError
from deployctl.git.complete_tree import fetch_parts, write_parts
from tests.support.mirrors import MAIN, mirror_of
from tests.support.projects import add_submodule, library
from tests.support.upstream import Upstream


def test_only_the_directory_is_written(upstream: Upstream, tmp_path: Path) -> None:
    upstream.commit(
        {
            "web/site/index.html": "page\n",
            "web/site/.hidden/x": "x\n",
            "web/site/run": "#!/bin/sh\n",
            "web/site2/other": "other\n",
            "web/[s]ite/other": "other\n",
            ".gitattributes": "*.html text eol=crlf\n",
        }
    )
    add_submodule(upstream, library(tmp_path, "lib"), "web/site/lib")
    mirror = mirror_of(tmp_path, upstream.url, dir="web/site", submodules=True)
    release = tmp_path / "release"
    release.mkdir()
    write_parts(fetch_parts(mirror, mirror.fetch(MAIN)), str(release))
    files = sorted(str(path.relative_to(release)) for path in release.rglob("*") if path.is_file())
    assert files == [".hidden/x", "index.html", "lib/lib.txt", "run"]
    assert (release / "index.html").read_bytes() == b"page\r\n", (
        "attributes of parent directories apply"
    )
    assert (release / "run").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in release.iterdir()) == [
        ".hidden", "index.html", "lib", "run",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("directory", "why"),
    [
        ("gone", ""),
        ("READM", ""),
        ("README", ": README is a file"),
        ("README/below", ": README is a file"),
        ("link", ": link is a symlink"),
        ("link/site", ": link is a symlink"),
        ("lib", ": lib is a submodule"),
        ("lib/inside", ": lib is a submodule"),
    ],
)
def test_a_path_that_is_not_a_directory_of_the_commit_is_refused(
    upstream: Upstream, tmp_path: Path, directory: str, why: str
) -> None:
    (upstream.work / "link").symlink_to("web")
    upstream.commit({"web/site/index.html": "page\n"})
    add_submodule(upstream, library(tmp_path, "lib"), "lib")
    mirror = mirror_of(tmp_path, upstream.url, dir=directory)
    revision = mirror.fetch(MAIN)
    with pytest.raises(GitError) as caught:
        fetch_parts(mirror, revision)
    assert str(caught.value) == (
        f"{revision[:12]} has no directory {directory}{why}; push one, or change dir in repos.yml"
    )
