"""Tests of Git LFS: files are written in place of pointers, and remaining pointers are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deployctl.errors import GitError
from deployctl.git.complete_tree import fetch_parts, write_parts
from deployctl.git.mirror import Mirror
from tests.support.mirrors import MAIN, mirror_of
from tests.support.projects import add_submodule, keep_in_lfs, library, push_lfs
from tests.support.upstream import Upstream, git

TEXT = "large\n" * 1000
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


@pytest.fixture
def upstream(upstream: Upstream) -> Upstream:
    keep_in_lfs(upstream, "*.bin")
    upstream.commit({"media/large.bin": TEXT, "small.txt": "small\n"})
    push_lfs(upstream)
    return upstream


def write_release(mirror: Mirror, directory: Path, revision: str | None = None) -> Path:
    parts = fetch_parts(mirror, revision or mirror.fetch(MAIN))
    directory.mkdir()
    write_parts(parts, str(directory))
    return directory


def error_of(mirror: Mirror, directory: Path) -> str:
    with pytest.raises(GitError) as caught:
        write_release(mirror, directory)
    return str(caught.value)


def test_lfs_files_are_written_and_kept_for_later_deployments(
    upstream: Upstream, tmp_path: Path
) -> None:
    mirror = mirror_of(tmp_path, upstream.url, lfs=True)
    first = write_release(mirror, tmp_path / "one")
    assert (first / "media/large.bin").read_text() == TEXT
    assert (first / "media/large.bin").stat().st_mode & 0o777 == 0o644
    shutil.rmtree(upstream.bare)
    second = write_release(mirror, tmp_path / "two", upstream.head)
    assert (second / "media/large.bin").read_text() == TEXT
    assert Path(mirror.lfs_storage).stat().st_mode & 0o777 == 0o700


def test_pointers_are_refused_if_lfs_is_off(upstream: Upstream, tmp_path: Path) -> None:
    upstream.commit({f"media/{number}.bin": f"{number}" for number in range(3)})
    mirror = mirror_of(tmp_path, upstream.url)
    assert error_of(mirror, tmp_path / "one") == (
        "only pointers of git-lfs would be deployed for media/0.bin, media/1.bin, media/2.bin and "
        "1 more: set lfs: true of blog in repos.yml"
    )
    assert not (tmp_path / "one").exists()


def test_a_pointer_without_the_attribute_filter_lfs_is_refused(
    upstream: Upstream, tmp_path: Path
) -> None:
    oid = git(upstream.work, "lfs", "ls-files", "--long").split()[0]
    upstream.commit({"pointer.txt": POINTER.format(oid=oid, size=len(TEXT))})
    mirror = mirror_of(tmp_path, upstream.url, lfs=True)
    assert error_of(mirror, tmp_path / "one") == (
        "pointer.txt: still pointers of git-lfs, for .gitattributes has no filter=lfs for them; "
        "add it (git lfs track), or commit the files themselves"
    )


def test_a_file_that_is_missing_on_the_server_is_an_error(
    upstream: Upstream, tmp_path: Path
) -> None:
    shutil.rmtree(upstream.bare / "lfs")
    mirror = mirror_of(tmp_path, upstream.url, lfs=True)
    message = error_of(mirror, tmp_path / "one")
    assert message.startswith(f"cannot fetch the LFS files of {upstream.head} from {upstream.url}:")


def test_a_missing_git_lfs_is_reported_with_its_package(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for program in ("git", "sh"):
        (bare / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setattr("deployctl.system.environment.PATH", str(bare))
    mirror = mirror_of(tmp_path, upstream.url, lfs=True)
    message = error_of(mirror, tmp_path / "one")
    assert message.endswith(
        "git: 'lfs' is not a git command. See 'git --help'; install git-lfs: apt-get install "
        "git-lfs"
    )


def test_a_submodule_has_lfs_files_of_its_own(upstream: Upstream, tmp_path: Path) -> None:
    lib = library(tmp_path, "lib")
    keep_in_lfs(lib, "*.dat")
    lib.commit({"lib.dat": TEXT})
    push_lfs(lib)
    add_submodule(upstream, lib, "lib")
    mirror = mirror_of(tmp_path, upstream.url, lfs=True, submodules=True)
    assert (write_release(mirror, tmp_path / "one") / "lib/lib.dat").read_text() == TEXT
    without = mirror_of(tmp_path, upstream.url, submodules=True)
    assert error_of(without, tmp_path / "two").startswith("only pointers of git-lfs")


def test_attributes_of_parent_directories_apply_to_a_deployed_directory(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.commit({"other/huge.bin": TEXT * 2})
    push_lfs(upstream)
    mirror = mirror_of(tmp_path, upstream.url, lfs=True, dir="media")
    release = write_release(mirror, tmp_path / "one")
    assert [path.name for path in release.iterdir()] == ["large.bin"]
    assert (release / "large.bin").read_text() == TEXT
    stored = [path for path in Path(mirror.lfs_storage, "objects").rglob("*") if path.is_file()]
    assert len(stored) == 1, "only files of the deployed directory are fetched"


def test_an_lfs_url_of_the_commit_that_is_not_https_or_ssh_is_refused(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.commit({".lfsconfig": '[lfs]\n\turl = "http://127.0.0.1:1/lfs"\n'})
    mirror = mirror_of(tmp_path, upstream.url, lfs=True)
    assert error_of(mirror, tmp_path / "one") == (
        ".lfsconfig: its url 'http://127.0.0.1:1/lfs' is neither https nor ssh, but http; use an "
        "https or ssh url"
    )


def test_files_that_lfsconfig_excludes_are_deployed(upstream: Upstream, tmp_path: Path) -> None:
    upstream.commit({".lfsconfig": "[lfs]\n\tfetchexclude = media\n"})
    mirror = mirror_of(tmp_path, upstream.url, lfs=True)
    assert (write_release(mirror, tmp_path / "one") / "media/large.bin").read_text() == TEXT
