"""The files of a commit are written to a directory exactly as they were committed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from deployctl.git.mirror import Mirror
from tests.support.mirrors import MAIN, export
from tests.support.upstream import Upstream


def test_exactly_the_committed_tree_is_written(
    tmp_path: Path, mirror: Mirror, upstream: Upstream
) -> None:
    unusual_names = ["-dash", "a\nb", "ünï", 'quo"te', "sp ace", "back\\slash", "*"]
    upstream.commit(
        {
            ".gitattributes": "secret export-ignore\nversion export-subst\n",
            "secret": "kept\n",
            "version": "$Format:%H$\n",
            "dos": "a\r\nb\r\n",
            "run": "#!/bin/sh\n",
            **dict.fromkeys(unusual_names, "text\n"),
        }
    )
    (upstream.work / "link").symlink_to("../outside")
    upstream.commit()
    out = export(mirror, mirror.fetch(MAIN), tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*unusual_names, ".gitattributes", "README", "dos", "link", "run", "secret", "version"]
    )
    assert (out / "version").read_text() == "$Format:%H$\n"
    assert (out / "dos").read_bytes() == b"a\r\nb\r\n"
    assert os.readlink(out / "link") == "../outside"


def test_a_file_name_that_is_not_utf8_is_written_unchanged(
    tmp_path: Path, mirror: Mirror, upstream: Upstream
) -> None:
    name = os.fsencode(upstream.work) + b"/caf\xe9"
    with open(name, "w") as file:
        file.write("text\n")
    upstream.commit()
    out = export(mirror, mirror.fetch(MAIN), tmp_path / "out")
    assert b"caf\xe9" in os.listdir(os.fsencode(out))


@pytest.mark.parametrize("umask", [0, 0o077])
def test_files_are_readable_for_a_web_server_whatever_the_umask(
    tmp_path: Path, mirror: Mirror, upstream: Upstream, umask: int
) -> None:
    upstream.commit({"bin/run": "#!/bin/sh\n", "page": "hi\n"})
    revision = mirror.fetch(MAIN)
    before = os.umask(umask)
    try:
        out = export(mirror, revision, tmp_path / "out")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((out / name).stat().st_mode) for name in ("bin", "bin/run", "page")}
    assert modes == {"bin": 0o755, "bin/run": 0o755, "page": 0o644}


def test_writing_files_leaves_no_other_files_behind(
    tmp_path: Path, mirror: Mirror, upstream: Upstream
) -> None:
    revision = mirror.fetch(MAIN)
    before = sorted(os.listdir(mirror.directory))
    export(mirror, revision, tmp_path / "out")
    assert sorted(os.listdir(mirror.directory)) == before
    assert sorted(os.listdir(tmp_path / "out")) == ["README"]


def test_leftovers_of_an_interrupted_export_do_no_harm(
    tmp_path: Path, mirror: Mirror, upstream: Upstream
) -> None:
    revision = mirror.fetch(MAIN)
    for leftover in ("out.index", "out.index.lock"):
        Path(mirror.directory, leftover).write_text("half")
    assert (export(mirror, revision, tmp_path / "out") / "README").exists()


def test_an_empty_tree_is_written_as_an_empty_directory(
    tmp_path: Path, mirror: Mirror, upstream: Upstream
) -> None:
    upstream.commit({"README": None})
    assert list(export(mirror, mirror.fetch(MAIN), tmp_path / "out").iterdir()) == []
