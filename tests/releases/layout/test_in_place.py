"""The layout ``in_place``: what a deployment changes in the checkout and what it does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deployctl.errors import LayoutError
from deployctl.git.mirror import Mirror
from deployctl.releases.layout import layout_of
from deployctl.releases.layout.in_place import InPlace
from deployctl.store.database import prepare_state_dir
from deployctl.values.deployment import Live
from deployctl.values.repo import Repo
from tests.support.upstream import Upstream, git

MAIN = "refs/heads/main"


class Site:
    """A repo that is deployed in place below ``tmp_path``."""

    def __init__(self, directory: Path, upstream: Upstream) -> None:
        self.path = directory / "blog"
        prepare_state_dir(str(directory / "state"))
        repo = Repo("blog", upstream.url, str(self.path), strategy="in_place")
        self.mirror = Mirror(repo, str(directory / "state"))
        self.layout = layout_of(repo, self.mirror)

    def prepare(self, number: int) -> list[str]:
        revision = self.mirror.fetch(MAIN)
        self.layout.check()
        assert self.layout.new_name(number, revision) is None
        return self.layout.prepare(number, revision, None)

    def deploy(self, number: int) -> list[str]:
        messages = self.prepare(number)
        self.layout.complete(None, self.mirror.resolve(MAIN))
        return messages + self.layout.switch(number, self.mirror.resolve(MAIN), None)

    def kept(self) -> list[str]:
        """Return the numbers of the deployments whose commits the checkout keeps by a ref."""
        refs = git(self.path, "for-each-ref", "--format=%(refname)", "refs/deployctl/releases")
        return [ref.rpartition("/")[2] for ref in refs.splitlines()]


@pytest.fixture
def site(tmp_path: Path, upstream: Upstream) -> Site:
    return Site(tmp_path, upstream)


def complaint_of(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(LayoutError) as caught:
        call(*arguments)
    return str(caught.value)


def test_strategy_in_place_chooses_this_layout(site: Site) -> None:
    assert isinstance(site.layout, InPlace)
    assert site.layout.directory(None) == site.layout.live_directory() == str(site.path)


def test_the_commit_that_is_checked_out_is_live(site: Site, upstream: Upstream) -> None:
    assert site.layout.live() is None
    assert site.deploy(1) == []
    assert site.layout.live() == Live(upstream.head)
    assert site.layout.release_of("releases/1") is None
    assert (site.path / "README").read_text() == "hello\n"


def test_switch_keeps_what_the_stages_changed(site: Site, upstream: Upstream) -> None:
    site.prepare(1)
    (site.path / "README").write_text("built\n")
    (site.path / "bundle.js").write_text("built too\n")
    site.layout.complete(None, upstream.head)
    assert site.layout.switch(1, upstream.head, None) == []
    assert (site.path / "README").read_text() == "built\n"
    assert (site.path / "bundle.js").read_text() == "built too\n"


def test_untracked_files_stay_in_the_next_deployment(site: Site, upstream: Upstream) -> None:
    site.deploy(1)
    (site.path / "uploads").mkdir()
    (site.path / "uploads" / "photo").write_text("precious\n")
    upstream.commit({"README": "two\n"})
    site.deploy(2)
    assert (site.path / "uploads" / "photo").read_text() == "precious\n"
    assert (site.path / "README").read_text() == "two\n"


def test_an_existing_clone_is_adopted_and_its_changes_are_saved(
    tmp_path: Path, site: Site, upstream: Upstream
) -> None:
    git(tmp_path, "clone", "-q", str(upstream.bare), "blog")
    before = upstream.head
    (site.path / "README").write_text("fixed in production\n")
    upstream.commit({"README": "two\n"})
    assert site.layout.adopt() == before
    assert site.deploy(7) == [
        (
            f"{site.path} had changes that are in no commit: saved as refs/deployctl/saved/7 "
            f"(git -C {site.path} show --stat refs/deployctl/saved/7)"
        )
    ]
    saved = git(site.path, "show", "refs/deployctl/saved/7:README")
    assert saved == "fixed in production"
    assert site.kept() == ["0", "7"]
    assert site.layout.adopt() is None
    assert site.layout.usable(None, before)


def test_nothing_is_adopted_from_an_empty_path_or_after_a_deployment(site: Site) -> None:
    assert site.layout.adopt() is None
    site.deploy(1)
    assert site.layout.adopt() is None


def test_restoring_after_a_failed_first_deployment_removes_only_tracked_files(
    tmp_path: Path, site: Site, upstream: Upstream
) -> None:
    site.prepare(1)
    (site.path / "build.log").write_text("from a stage\n")
    for _ in range(2):
        site.layout.restore(None)
        site.layout.discard(1, None)
    assert site.layout.live() is None
    assert sorted(os.listdir(site.path)) == [".git", "build.log"]
    site.deploy(2)
    assert site.layout.live() == Live(upstream.head)


def test_restoring_before_any_deployment_changes_nothing(site: Site) -> None:
    site.layout.restore(None)
    site.layout.discard(1, None)
    site.layout.tidy()
    assert not site.path.exists()


def test_restore_checks_out_the_previous_commit_and_may_be_repeated(
    site: Site, upstream: Upstream
) -> None:
    site.deploy(1)
    before = site.layout.live()
    upstream.commit({"README": "two\n", "new": "file\n"})
    site.prepare(2)
    (site.path / "README").write_text("half built\n")
    for _ in range(2):
        site.layout.restore(before)
        assert site.layout.live() == before
        assert (site.path / "README").read_text() == "hello\n"
        assert not (site.path / "new").exists()


def test_switch_to_an_earlier_commit_works_without_the_mirror(
    site: Site, upstream: Upstream
) -> None:
    site.deploy(1)
    first = upstream.head
    upstream.commit({"README": "two\n"})
    site.deploy(2)
    upstream.rewind(first)
    upstream.commit({"README": "three\n"})
    site.deploy(3)
    shutil.rmtree(site.mirror.directory)
    assert site.layout.usable(None, first)
    (site.path / "README").write_text("changed since\n")
    messages = site.layout.switch(4, first, None)
    assert messages == [
        (
            f"{site.path} had changes that are in no commit: saved as refs/deployctl/saved/4 "
            f"(git -C {site.path} show --stat refs/deployctl/saved/4)"
        )
    ]
    assert site.layout.live() == Live(first)
    assert (site.path / "README").read_text() == "hello\n"


def test_discard_removes_the_ref_that_keeps_a_commit(site: Site, upstream: Upstream) -> None:
    site.deploy(1)
    upstream.commit({"README": "two\n"})
    site.deploy(2)
    for _ in range(2):
        site.layout.discard(1, None)
        assert site.kept() == ["2"]
    assert not site.layout.usable(None, "1" * 40)
    site.layout.tidy()


def test_a_path_with_releases_is_refused(site: Site) -> None:
    site.path.mkdir()
    (site.path / "current").symlink_to("releases/1")
    assert complaint_of(site.layout.check) == (
        f"{site.path} holds releases: set strategy: releases of blog, or another path"
    )


def test_a_path_with_other_files_is_refused(site: Site) -> None:
    site.path.mkdir()
    (site.path / "index.php").write_text("precious")
    assert complaint_of(site.prepare, 1) == (
        f"{site.path} is not empty and not a git checkout: move it away, or make it a clone of "
        "the repo first"
    )
    assert os.listdir(site.path) == ["index.php"]


def test_a_path_that_is_a_file_is_refused(site: Site) -> None:
    site.path.write_text("precious")
    assert complaint_of(site.prepare, 1) == (
        f"{site.path} is not a directory: move it away, or set path of blog"
    )
    assert site.path.read_text() == "precious"
