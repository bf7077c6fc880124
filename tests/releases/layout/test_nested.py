"""Submodules and LFS files of a checkout that is deployed in place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from deployctl.git.mirror import Mirror
from deployctl.releases.layout import layout_of
from deployctl.store.database import prepare_state_dir
from deployctl.values.deployment import Live
from deployctl.values.repo import Repo
from tests.support.projects import add_submodule, keep_in_lfs, library, push_lfs, update_submodule
from tests.support.upstream import Upstream, git

MAIN = "refs/heads/main"
TEXT = "large\n" * 1000


class Site:
    """A repo that is deployed in place below ``tmp_path``."""

    def __init__(self, directory: Path, upstream: Upstream, **keys: Any) -> None:
        self.path = directory / "blog"
        prepare_state_dir(str(directory / "state"))
        repo = Repo("blog", upstream.url, str(self.path), strategy="in_place", **keys)
        self.mirror = Mirror(repo, str(directory / "state"))
        self.layout = layout_of(repo, self.mirror)

    def deploy(self, number: int) -> list[str]:
        revision = self.mirror.fetch(MAIN)
        self.layout.check()
        messages = self.layout.prepare(number, revision, None)
        return messages + self.layout.switch(number, revision, None)

    def text(self, name: str) -> str:
        return (self.path / name).read_text()


@pytest.fixture
def lib(tmp_path: Path) -> Upstream:
    return library(tmp_path, "lib")


@pytest.fixture
def site(tmp_path: Path, upstream: Upstream, lib: Upstream) -> Site:
    add_submodule(upstream, lib, "lib")
    return Site(tmp_path, upstream, submodules=True)


def test_submodules_move_with_the_checkout_and_are_restored_offline(
    site: Site, upstream: Upstream, lib: Upstream
) -> None:
    first = upstream.head
    assert site.deploy(1) == []
    assert site.text("lib/lib.txt") == "lib 1\n"
    assert git(site.path, "status", "--porcelain") == ""
    lib.commit({"lib.txt": None, "new.txt": "new\n"})
    update_submodule(upstream, "lib", lib)
    site.deploy(2)
    assert (site.text("lib/new.txt"), (site.path / "lib/lib.txt").exists()) == ("new\n", False)
    shutil.rmtree(lib.bare)
    shutil.rmtree(site.mirror.directory)
    site.layout.restore(Live(first))
    assert (site.text("lib/lib.txt"), (site.path / "lib/new.txt").exists()) == ("lib 1\n", False)


def test_changes_in_a_submodule_are_saved_before_they_are_overwritten(
    site: Site, upstream: Upstream, lib: Upstream
) -> None:
    site.deploy(1)
    (site.path / "lib/lib.txt").write_text("by hand\n")
    lib.commit({"lib.txt": "lib 2\n"})
    update_submodule(upstream, "lib", lib)
    (message,) = site.deploy(2)
    ref = "refs/deployctl/saved/2"
    assert message == (
        f"{site.path}/lib had changes that are in no commit: saved as {ref} "
        f"(git -C {site.path}/lib show --stat {ref})"
    )
    assert site.text("lib/lib.txt") == "lib 2\n"
    assert git(site.path / "lib", "show", f"{ref}:lib.txt") == "by hand"


def test_the_files_of_a_dropped_submodule_are_removed(site: Site, upstream: Upstream) -> None:
    site.deploy(1)
    git(upstream.work, "rm", "-q", "lib")
    upstream.commit({"other": "other\n"})
    site.deploy(2)
    assert not (site.path / "lib").exists()
    site.layout.restore(Live(git(upstream.work, "rev-parse", "HEAD~")))
    assert site.text("lib/lib.txt") == "lib 1\n"


def test_an_existing_clone_with_submodules_is_adopted(
    site: Site, upstream: Upstream, lib: Upstream, tmp_path: Path
) -> None:
    allowed = ("-c", "protocol.file.allow=always")
    git(tmp_path, *allowed, "clone", "-q", "--recurse-submodules", upstream.url, "blog")
    assert (site.path / "lib/.git").is_file()
    lib.commit({"lib.txt": "lib 2\n"})
    update_submodule(upstream, "lib", lib)
    assert site.deploy(1) == []
    assert site.text("lib/lib.txt") == "lib 2\n"


def test_lfs_files_move_with_the_checkout(tmp_path: Path, upstream: Upstream) -> None:
    keep_in_lfs(upstream, "*.bin")
    first = upstream.commit({"large.bin": TEXT})
    push_lfs(upstream)
    site = Site(tmp_path, upstream, lfs=True)
    site.deploy(1)
    assert site.text("large.bin") == TEXT
    upstream.commit({"large.bin": TEXT * 2})
    push_lfs(upstream)
    assert site.deploy(2) == []
    assert site.text("large.bin") == TEXT * 2
    site.layout.restore(Live(first))
    assert site.text("large.bin") == TEXT


def test_lfs_pointers_of_a_clone_that_was_made_without_lfs_are_replaced_by_the_files(
    tmp_path: Path, upstream: Upstream
) -> None:
    keep_in_lfs(upstream, "*.bin")
    upstream.commit({"large.bin": TEXT})
    push_lfs(upstream)
    git(tmp_path, "clone", "-q", upstream.url, "blog")
    site = Site(tmp_path, upstream, lfs=True)
    assert site.text("large.bin").startswith("version https://git-lfs")
    assert site.deploy(1) == []
    assert site.text("large.bin") == TEXT
