"""A fetch repairs a mirror after a crash, a power cut or damage."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deployctl.errors import GitError
from deployctl.git.mirror import Mirror
from deployctl.system.locks import mirror_lock
from deployctl.system.process_tree import identity
from tests.support.mirrors import MAIN, export, message_of, replacement_leftovers
from tests.support.upstream import Upstream, git

INDEX_SUFFIXES = ("", ".lock")


@pytest.mark.parametrize(
    "damage",
    [
        "rm -r objects",
        "rm HEAD",
        "echo garbage > HEAD",
        "echo garbage > packed-refs",
        ": > refs/heads/main",
        "echo 1111111111111111111111111111111111111111 > refs/heads/main",
        "touch refs/heads/main.lock packed-refs.lock HEAD.lock shallow.lock",
        "chmod -R u+w . && for f in objects/pack/*; do : > $f; done",
        "rm -f objects/pack/*",
    ],
)
def test_a_damaged_mirror_is_repaired_by_the_next_fetch(
    tmp_path: Path, mirror: Mirror, upstream: Upstream, damage: str
) -> None:
    mirror.fetch(MAIN)
    subprocess.run(["/bin/sh", "-ec", damage], cwd=mirror.directory, check=True)
    upstream.commit({"README": "two\n"})
    revision = mirror.fetch(MAIN)
    assert revision == upstream.head
    assert (export(mirror, revision, tmp_path / "out") / "README").read_text() == "two\n"


LOCKS = (
    "HEAD.lock",
    "config.lock",
    "index.lock",
    "packed-refs.lock",
    "shallow.lock",
    "refs/heads/main.lock",
    "refs/tags/deep/below/v1.lock",
    "logs/refs/heads/main.lock",
    "objects/info/commit-graphs/commit-graph-chain.lock",
    "objects/pack/multi-pack-index.lock",
)
HALF_WRITTEN = (
    *("objects/pack/tmp_pack_x", "objects/pack/pack-1.keep", "objects/4b/tmp_obj_x"),
    "objects/info/commit-graphs/tmp_graph_x",
)


def test_leftovers_of_a_killed_git_process_are_removed_by_the_next_fetch(
    mirror: Mirror, upstream: Upstream
) -> None:
    mirror.fetch(MAIN)
    leftovers = [Path(mirror.directory, name) for name in (*LOCKS, *HALF_WRITTEN)]
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    before = os.stat(mirror.directory).st_ino
    revision = upstream.commit({"README": "two\n"})
    assert mirror.fetch(MAIN) == revision
    assert [path for path in leftovers if path.exists()] == []
    assert os.stat(mirror.directory).st_ino == before


def test_a_branch_may_have_the_name_of_a_half_written_file(
    mirror: Mirror, upstream: Upstream
) -> None:
    mirror.fetch(MAIN)
    refs = Path(mirror.directory, "refs", "deployctl")
    names = [refs / "tmp_x", refs / "x.index", refs / "x.keep"]
    refs.mkdir(parents=True, exist_ok=True)
    for name in names:
        name.write_text(f"{mirror.fetch(MAIN)}\n")
    mirror.tidy()
    assert [name for name in names if not name.exists()] == []


def test_a_fetch_keeps_the_index_of_another_living_process(
    mirror: Mirror, upstream: Upstream
) -> None:
    """A process with the same pid but another start time is another process."""
    mirror.fetch(MAIN)
    with subprocess.Popen(["sleep", "60"]) as other:
        process = identity(other.pid)
        used, stale = (
            [
                Path(mirror.directory, f"1-abc.{process.pid}-{start}.index{end}")
                for end in INDEX_SUFFIXES
            ]
            for start in (process.started, process.started - 1)
        )
        for path in (*used, *stale):
            path.touch()
        mirror.fetch(MAIN)
        other.kill()
    assert [path.exists() for path in (*used, *stale)] == [True, True, False, False]


@pytest.mark.parametrize("name", ["1-abc", ""])
def test_an_index_that_this_process_left_behind_is_removed_by_tidy(
    name: str, mirror: Mirror, upstream: Upstream
) -> None:
    """An index for a directory without a name has a file name that begins with a dot."""
    mirror.fetch(MAIN)
    process = identity()
    stem = f"{name}.{process.pid}-{process.started}.index"
    leftovers = [Path(mirror.directory, stem + end) for end in INDEX_SUFFIXES]
    for path in leftovers:
        path.touch()
    mirror.tidy()
    assert [path.exists() for path in leftovers] == [False, False]


def test_a_damaged_mirror_stays_until_a_new_one_is_fetched(
    tmp_path: Path, mirror: Mirror, upstream: Upstream
) -> None:
    """Its readable commits may be the only source for a rollback."""
    first = mirror.fetch(MAIN)
    Path(mirror.directory, "packed-refs").write_text("garbage\n")
    upstream.bare.rename(tmp_path / "away")
    assert "does not appear to be a git repository" in message_of(mirror.fetch, MAIN)
    assert replacement_leftovers(mirror) == []
    Path(mirror.directory, "packed-refs").unlink()
    assert (export(mirror, first, tmp_path / "out") / "README").read_text() == "hello\n"


@pytest.mark.parametrize("moved", [False, True])
def test_an_interrupted_replacement_of_a_mirror_is_undone(
    tmp_path: Path, mirror: Mirror, upstream: Upstream, moved: bool
) -> None:
    first = mirror.fetch(MAIN)
    shutil.copytree(mirror.directory, f"{mirror.directory}.new")
    if moved:
        os.rename(mirror.directory, f"{mirror.directory}.old")
    upstream.bare.rename(tmp_path / "away")
    assert "does not appear to be a git repository" in message_of(mirror.fetch, MAIN)
    assert mirror.resolve(MAIN) == first
    assert replacement_leftovers(mirror) == []


def test_an_incomplete_mirror_of_an_interrupted_creation_is_replaced(
    mirror: Mirror, upstream: Upstream
) -> None:
    for directory in (mirror.directory, f"{mirror.directory}.new"):
        os.makedirs(f"{directory}/refs")
        Path(directory, "config").write_text("[core")
    assert mirror.fetch(MAIN) == upstream.head


def test_a_mirror_whose_commit_cannot_be_written_is_replaced_by_the_next_fetch(
    tmp_path: Path, mirror: Mirror, upstream: Upstream
) -> None:
    revision = mirror.fetch(MAIN)
    for pack in Path(mirror.directory, "objects", "pack").iterdir():
        pack.unlink()
    with pytest.raises(GitError, match=f"^cannot write {revision} to {tmp_path}/out: "):
        export(mirror, revision, tmp_path / "out")
    assert os.path.exists(mirror.directory)
    assert mirror.fetch(MAIN) == revision
    assert (export(mirror, revision, tmp_path / "second") / "README").exists()


def test_a_branch_may_be_replaced_by_branches_below_its_name(
    mirror: Mirror, upstream: Upstream
) -> None:
    mirror.fetch(MAIN)
    git(upstream.bare, "branch", "-m", "main", "main/next")
    assert mirror.fetch("refs/heads/main/next") == upstream.head
    git(upstream.bare, "branch", "-m", "main/next", "main")
    assert mirror.fetch(MAIN) == upstream.head


def test_packing_does_not_wait_for_the_lock_of_the_mirror(
    tmp_path: Path, mirror: Mirror, upstream: Upstream
) -> None:
    mirror.tidy()
    mirror.fetch(MAIN)
    with mirror_lock(str(tmp_path / "state"), mirror.name):
        mirror.tidy()
