"""Tests of submodules: which urls are accepted, and that the recorded commits are written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from deployctl.errors import GitError
from deployctl.git.complete_tree import fetch_parts, write_parts
from deployctl.git.mirror import Mirror
from deployctl.git.submodules import fault_of_url, submodule_url
from tests.support.mirrors import MAIN, mirror_of
from tests.support.projects import add_submodule, library, update_submodule, write_submodule_entry
from tests.support.sshd import sshd
from tests.support.upstream import Upstream, git

SERVER = "https://example.org/you/blog.git"


@pytest.fixture
def mirror(tmp_path: Path, upstream: Upstream) -> Mirror:
    return mirror_of(tmp_path, upstream.url, submodules=True)


def write_release(mirror: Mirror, directory: Path) -> list[str]:
    """Write the branch as a release into ``directory``; return the files that it has then."""
    parts = fetch_parts(mirror, mirror.fetch(MAIN))
    directory.mkdir()
    write_parts(parts, str(directory))
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()
    )


def error_of(mirror: Mirror) -> str:
    revision = mirror.fetch(MAIN)
    with pytest.raises(GitError) as caught:
        fetch_parts(mirror, revision)
    return str(caught.value)


@pytest.mark.parametrize(
    ("base", "configured", "url"),
    [
        (SERVER, "../lib.git", "https://example.org/you/lib.git"),
        (SERVER, "../../they/lib.git", "https://example.org/they/lib.git"),
        (f"{SERVER}/", "./wiki", f"{SERVER}/wiki"),
        ("git@example.org:you/blog.git", "../lib.git", "git@example.org:you/lib.git"),
        ("git@example.org:blog.git", "../lib.git", "git@example.org:lib.git"),
        ("ssh://git@example.org:22/you/blog", "../lib", "ssh://git@example.org:22/you/lib"),
        (SERVER, "git@example.com:they/lib.git", "git@example.com:they/lib.git"),
        (SERVER, "https://example.com/lib.git", "https://example.com/lib.git"),
    ],
)
def test_a_url_is_resolved_as_git_does(base: str, configured: str, url: str) -> None:
    assert submodule_url("lib", configured, base, local_root=None) == url


@pytest.mark.parametrize(
    ("configured", "fault"),
    [
        ("../../../lib.git", "leads too far up"),
        ("-u./payload", "has characters that do not belong there"),
        ("https://example.org/a\nb", "has characters that do not belong there"),
        ("ext::sh -c true", "has characters that do not belong there"),
        ("ext::sh", "names a transport helper, which can run commands"),
        ("/srv/private.git", "is a path on this machine"),
        ("file:///srv/private.git", "is a path on this machine"),
        ("http://example.org/lib.git", "is neither https nor ssh, but http"),
        ("git://example.org/lib.git", "is neither https nor ssh, but git"),
        ("HTTPS://example.org/lib.git", "is neither https nor ssh, but HTTPS"),
        ("ssh://-oProxyCommand=x/lib", "names no server"),
        ("ssh://git@-oProxyCommand=x/lib", "names no server"),
        ("-oProxyCommand=x:lib", "has characters that do not belong there"),
        ("git@-oProxyCommand=x:lib", "names no server"),
        ("https:///lib.git", "names no server"),
        ("lib.git", "names no server"),
        ("https://me:secret@example.org/lib.git", "has a password, which gets shown"),
    ],
)
def test_an_unsafe_url_is_refused(configured: str, fault: str) -> None:
    with pytest.raises(GitError) as caught:
        submodule_url("lib", configured, SERVER, local_root=None)
    message = str(caught.value)
    assert message.startswith("submodule lib: its url ")
    assert message.endswith(f" {fault}; use an https or ssh url, or a relative one (../NAME.git)")
    assert "secret" not in message


def test_a_path_is_accepted_if_the_repo_itself_is_local() -> None:
    assert fault_of_url("/srv/lib.git", local=True) is None
    assert fault_of_url("file:///srv/lib.git", local=True) is None


@pytest.mark.parametrize(
    "configured", ["/etc/secret.git", "file:///srv/secret.git", "../../etc/x.git"]
)
def test_a_path_that_is_not_beside_the_repository_is_refused(configured: str) -> None:
    """A push must not give access to other repositories on this machine."""
    base, root = "/srv/git/blog.git", "/srv/git"
    assert submodule_url("lib", "../lib.git", base, local_root=root) == "/srv/git/lib.git"
    with pytest.raises(GitError, match="is a path on this machine; use an https or ssh url"):
        submodule_url("lib", configured, base, local_root=root)


def test_the_recorded_commits_of_submodules_at_all_levels_are_written(
    mirror: Mirror, upstream: Upstream, tmp_path: Path
) -> None:
    deep, lib = library(tmp_path, "deep"), library(tmp_path, "lib")
    add_submodule(lib, deep, "deep")
    add_submodule(upstream, lib, "vendor/lib", "../lib/upstream.git")
    recorded = lib.head
    lib.commit({"lib.txt": "lib 2\n"})
    names = write_release(mirror, tmp_path / "one")
    assert names == [
        ".gitmodules",
        "README",
        "vendor/lib/.gitmodules",
        "vendor/lib/deep/lib.txt",
        "vendor/lib/lib.txt",
    ]
    assert (tmp_path / "one/vendor/lib/lib.txt").read_text() == "lib 1\n"
    assert recorded != lib.head
    update_submodule(upstream, "vendor/lib", lib)
    write_release(mirror, tmp_path / "two")
    assert (tmp_path / "two/vendor/lib/lib.txt").read_text() == "lib 2\n"


def test_a_fetched_commit_can_be_written_without_a_remote(
    mirror: Mirror, upstream: Upstream, tmp_path: Path
) -> None:
    lib = library(tmp_path, "lib")
    revision = add_submodule(upstream, lib, "lib")
    mirror.fetch(MAIN)
    fetch_parts(mirror, revision)
    shutil.rmtree(lib.bare)
    (tmp_path / "release").mkdir()
    write_parts(fetch_parts(mirror, revision), str(tmp_path / "release"))
    assert (tmp_path / "release/lib/lib.txt").read_text() == "lib 1\n"


def test_a_commit_that_is_in_no_branch_is_fetched_by_its_sha_and_pinned(
    mirror: Mirror, upstream: Upstream, tmp_path: Path
) -> None:
    lib = library(tmp_path, "lib")
    first = lib.head
    second = lib.commit({"lib.txt": "lib 2\n"})
    add_submodule(upstream, lib, "lib")
    lib.rewind(first)
    git(lib.bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    write_release(mirror, tmp_path / "one")
    assert (tmp_path / "one/lib/lib.txt").read_text() == "lib 2\n"
    nested = mirror.submodule_mirror(lib.url)
    refs = git(Path(nested.directory), "for-each-ref", "--format=%(refname)").splitlines()
    assert refs == [f"refs/deployctl/pinned/{second}"]


def test_all_branches_are_fetched_if_the_server_sends_no_commit_by_its_sha(
    mirror: Mirror, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = library(tmp_path, "lib")
    add_submodule(upstream, lib, "lib")
    lib.commit({"lib.txt": "lib 2\n"})
    monkeypatch.setattr("deployctl.git.command._SETTINGS", ("protocol.version=0",))
    write_release(mirror, tmp_path / "one")
    assert (tmp_path / "one/lib/lib.txt").read_text() == "lib 1\n"


def test_a_commit_that_was_never_pushed_is_reported_with_advice(
    mirror: Mirror, upstream: Upstream, tmp_path: Path
) -> None:
    lib = library(tmp_path, "lib")
    sha, modules = "1" * 40, f'[submodule "lib"]\n\tpath = lib\n\turl = {lib.url}\n'
    write_submodule_entry(upstream, "lib", sha, modules)
    assert error_of(mirror) == f"submodule lib: {lib.url} has no commit {sha}: push it there"


def test_a_submodule_that_cannot_be_fetched_is_reported_with_advice(
    mirror: Mirror, upstream: Upstream, tmp_path: Path
) -> None:
    lib = library(tmp_path, "lib")
    add_submodule(upstream, lib, "vendor/lib")
    shutil.rmtree(lib.bare)
    assert error_of(mirror) == (
        f"submodule vendor/lib: cannot fetch {lib.head} from {lib.url}: '{lib.bare}' does not "
        "appear to be a git repository; check url and what this account may read"
    )


def test_a_submodule_without_a_url_is_reported_with_advice(
    mirror: Mirror, upstream: Upstream
) -> None:
    write_submodule_entry(upstream, "lib", "1" * 40, "")
    assert error_of(mirror) == (
        "submodule lib: .gitmodules has no url for it; add one (git submodule add), or take it out "
        "of the commit (git rm --cached lib)"
    )


@pytest.mark.parametrize("setting", ["update = !touch pwned", "url = -u./payload"])
def test_gitmodules_with_commands_is_refused(
    mirror: Mirror, upstream: Upstream, tmp_path: Path, setting: str
) -> None:
    """CVE-2018-17456 and CVE-2019-19604: git itself refuses to fetch such a file."""
    lib = library(tmp_path, "lib")
    write_submodule_entry(
        upstream, "lib", lib.head, f'[submodule "lib"]\n\tpath = lib\n\t{setting}\n'
    )
    with pytest.raises(GitError, match=r"gitmodules(Url|Update)"):
        mirror.fetch(MAIN)


def test_a_submodule_name_with_parent_directories_is_refused(
    mirror: Mirror, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2018-11235: git refuses it in a fetch, and deployctl does if git has not checked it."""
    lib = library(tmp_path, "lib")
    text = f'[submodule "../../hooks"]\n\tpath = lib\n\turl = {lib.url}\n'
    write_submodule_entry(upstream, "lib", lib.head, text)
    with pytest.raises(GitError, match="gitmodulesName"):
        mirror.fetch(MAIN)
    monkeypatch.setattr("deployctl.git.command._SETTINGS", ())
    assert error_of(mirror) == (
        ".gitmodules has a submodule called '../../hooks': names with .. are refused"
    )


def test_a_submodule_is_not_written_through_a_symlink(
    mirror: Mirror, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2024-32002: a symlink redirects the path of a submodule if case is ignored in names."""
    lib = library(tmp_path, "lib")
    add_submodule(upstream, lib, "lib")
    parts = fetch_parts(mirror, mirror.fetch(MAIN))
    release, outside = tmp_path / "release", tmp_path / "outside"
    release.mkdir()
    outside.mkdir()
    export = mirror.export

    def export_and_replace(*arguments: Any, **keys: Any) -> None:
        export(*arguments, **keys)
        (release / "lib").rmdir()
        (release / "lib").symlink_to(outside)

    monkeypatch.setattr(mirror, "export", export_and_replace)
    with pytest.raises(GitError) as caught:
        write_parts(parts, str(release))
    assert str(caught.value) == (
        f"submodule lib: {release}/lib is not an empty directory inside the release: look for a "
        "symlink or a file in the commit that has its name"
    )
    assert os.listdir(outside) == []


def test_a_repo_from_a_server_cannot_have_submodules_from_this_machine(
    upstream: Upstream, tmp_path: Path
) -> None:
    private, lib = library(tmp_path, "private"), library(tmp_path, "lib")
    add_submodule(upstream, lib, "lib", "../lib/upstream.git")
    with sshd(tmp_path / "ssh") as server:
        known = tmp_path / "known_hosts"
        known.write_text(server.known_host)
        keys = {"ssh_key": str(server.key), "known_hosts": str(known), "submodules": True}
        mirror = mirror_of(tmp_path, server.url(upstream.bare), **keys)
        assert "lib/lib.txt" in write_release(mirror, tmp_path / "one"), (
            "fetched with the ssh key of the repo"
        )
        add_submodule(upstream, private, "private")
        assert error_of(mirror) == (
            f"submodule private: its url '{private.url}' is a path on this machine; use an https "
            "or ssh url, or a relative one (../NAME.git)"
        )


def test_submodules_that_stay_empty_are_warned_of(upstream: Upstream, tmp_path: Path) -> None:
    add_submodule(upstream, library(tmp_path, "lib"), "lib")
    mirror = mirror_of(tmp_path, upstream.url)
    parts = fetch_parts(mirror, mirror.fetch(MAIN))
    assert parts.messages == (
        "warning: submodules stay empty (lib): set submodules: true of blog in repos.yml",
    )
