"""Tests of mirrors: fetching from all kinds of urls, and what a fetch refuses."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from deployctl.errors import GitError
from deployctl.git.mirror import Mirror, mirror_name
from deployctl.values.repo import Repo
from tests.support.cli import processes_called
from tests.support.mirrors import MAIN, export, message_of, mirror_of, replacement_leftovers
from tests.support.sshd import sshd
from tests.support.upstream import Upstream, git

NOBODY = 65534


def test_a_ref_is_fetched_and_resolved(mirror: Mirror, upstream: Upstream) -> None:
    assert mirror.fetch(MAIN) == upstream.head
    assert mirror.resolve(upstream.head[:10]) == upstream.head
    assert mirror.has(upstream.head)
    assert not mirror.has("1" * 40)


def test_the_tip_of_a_remote_branch_is_found_without_fetching(
    mirror: Mirror, upstream: Upstream
) -> None:
    assert mirror.remote_tip(MAIN) == upstream.head
    assert mirror.remote_tip("refs/heads/none") is None
    assert not mirror.exists()


def test_a_commit_is_fetched_by_its_sha_or_else_through_its_branch(
    mirror: Mirror, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = upstream.head
    second = upstream.commit({"README": "two\n"})
    mirror.ensure_commit(first, MAIN)
    assert (mirror.has(first), mirror.has(second)) == (True, False), "by its sha alone"

    def refuse(revision: str) -> None:
        raise GitError("Server does not allow request for unadvertised object")

    monkeypatch.setattr(mirror, "fetch_revision", refuse)
    mirror.ensure_commit(second, MAIN)
    assert mirror.has(second)
    assert message_of(mirror.ensure_commit, "1" * 40, MAIN).startswith("Server does not allow")


def test_a_force_push_is_an_ordinary_fetch(mirror: Mirror, upstream: Upstream) -> None:
    first = upstream.head
    second = upstream.commit({"README": "two\n"})
    assert mirror.fetch(MAIN) == second
    upstream.rewind(first)
    assert mirror.fetch(MAIN) == first
    third = upstream.commit({"README": "three\n"})
    assert mirror.fetch(MAIN) == third
    assert not mirror.is_ancestor(second, third)
    assert mirror.is_ancestor(first, third)


def test_a_branch_whose_name_only_has_the_same_end_is_not_used(
    mirror: Mirror, upstream: Upstream
) -> None:
    first = upstream.head
    upstream.branch("changeset-release/main")
    upstream.commit({"README": "other\n"})
    assert mirror.remote_tip(MAIN) == first
    assert mirror.fetch(MAIN) == first
    git(upstream.bare, "update-ref", "-d", MAIN)
    assert mirror.remote_tip(MAIN) is None


def test_a_missing_branch_or_tag_is_reported_with_advice(
    mirror: Mirror, upstream: Upstream
) -> None:
    url = upstream.url
    assert message_of(mirror.fetch, "refs/heads/release/next") == (
        f"{url} has no branch release/next: push it, or set branch of blog in repos.yml"
    )
    assert message_of(mirror.fetch, "refs/tags/v1") == (
        f"{url} has no tag v1: push it, or set tag of blog in repos.yml"
    )


def test_an_empty_repository_has_no_branch_yet(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path)
    mirror = mirror_of(tmp_path, upstream.url)
    assert mirror.remote_tip(MAIN) is None
    assert message_of(mirror.fetch, MAIN) == (
        f"{upstream.url} has no branch main: push it, or set branch of blog in repos.yml"
    )


def test_an_annotated_tag_is_resolved_to_its_commit(mirror: Mirror, upstream: Upstream) -> None:
    upstream.tag("v1")
    assert git(upstream.work, "rev-parse", "v1") != upstream.head
    assert mirror.remote_tip("refs/tags/v1") == upstream.head
    assert mirror.fetch("refs/tags/v1") == upstream.head


def test_a_fetch_updates_a_tag_that_was_moved(mirror: Mirror, upstream: Upstream) -> None:
    upstream.tag("v1")
    mirror.fetch("refs/tags/v1")
    upstream.commit({"README": "two\n"})
    git(upstream.work, "tag", "--force", "-m", "moved", "v1")
    upstream.push("v1")
    assert mirror.fetch("refs/tags/v1") == upstream.head


def test_a_commit_that_is_in_no_branch_can_be_fetched_by_its_sha(
    mirror: Mirror, upstream: Upstream
) -> None:
    first = upstream.head
    lost = upstream.commit({"README": "lost\n"})
    upstream.rewind(first)
    mirror.fetch(MAIN)
    assert not mirror.has(lost)
    mirror.fetch_revision(lost)
    assert mirror.has(lost)


def test_repos_with_one_url_share_a_mirror(tmp_path: Path, upstream: Upstream) -> None:
    one = mirror_of(tmp_path, upstream.url)
    other = Mirror(Repo("shop", upstream.url, "/srv/shop"), str(tmp_path / "state"))
    assert one.directory == other.directory
    one.fetch(MAIN)
    assert other.has(upstream.head)


def test_many_threads_can_fetch_into_one_mirror_at_the_same_time(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.branch("next")
    upstream.commit({"README": "next\n"})
    mirrors = [mirror_of(tmp_path, upstream.url) for _ in range(6)]
    found: list[str] = []
    refs = [MAIN, "refs/heads/next"] * 3
    threads = [
        threading.Thread(target=lambda mirror=mirror, ref=ref: found.append(mirror.fetch(ref)))
        for mirror, ref in zip(mirrors, refs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6


def test_fetched_commits_stay_when_the_remote_is_gone(mirror: Mirror, upstream: Upstream) -> None:
    mirror.fetch(MAIN)
    shutil.rmtree(upstream.bare)
    assert message_of(mirror.fetch, MAIN) == (
        f"cannot fetch {MAIN} from {upstream.url}: '{upstream.bare}' does not appear to be a git "
        "repository; check url and what this account may read"
    )
    assert mirror.has(upstream.head)


def test_a_path_is_a_url(tmp_path: Path, upstream: Upstream) -> None:
    assert mirror_of(tmp_path, str(upstream.bare)).fetch(MAIN) == upstream.head
    assert mirror_of(tmp_path, str(upstream.work)).fetch(MAIN) == upstream.head


def test_a_path_with_spaces_is_a_url_in_both_spellings(tmp_path: Path, upstream: Upstream) -> None:
    place = tmp_path / "my blog.git"
    upstream.bare.rename(place)
    assert mirror_of(tmp_path, str(place)).fetch(MAIN) == upstream.head
    url = f"file://{place}".replace(" ", "%20")
    assert mirror_of(tmp_path, url).fetch(MAIN) == upstream.head


def test_a_bundle_is_a_url(tmp_path: Path, upstream: Upstream) -> None:
    bundle = tmp_path / "blog.bundle"
    git(upstream.work, "bundle", "create", "-q", str(bundle), "main")
    mirror = mirror_of(tmp_path, str(bundle))
    assert mirror.remote_tip(MAIN) == upstream.head
    assert mirror.fetch(MAIN) == upstream.head
    upstream.commit({"README": "two\n"})
    git(upstream.work, "bundle", "create", "-q", str(bundle), "main")
    assert mirror.fetch(MAIN) == upstream.head


def test_a_transport_that_runs_commands_is_refused(tmp_path: Path) -> None:
    url = f"ext::sh -c 'touch% {tmp_path}/ran'"
    mirror = mirror_of(tmp_path, url)
    assert message_of(mirror.remote_tip, MAIN) == (
        f"cannot ask {url} for {MAIN}: transport 'ext' not allowed; "
        "use an https or ssh url, or a path"
    )
    assert "transport 'ext' not allowed" in message_of(mirror.fetch, MAIN)
    assert not (tmp_path / "ran").exists()


def test_a_refused_connection_is_reported(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound but not listening: no other process can get the port
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = f"ssh://127.0.0.1:{port}/blog"
        assert message_of(mirror_of(tmp_path, url).fetch, MAIN) == (
            f"cannot fetch {MAIN} from {url}: "
            f"ssh: connect to host 127.0.0.1 port {port}: Connection refused; "
            "check host and port in url, and this machine's network"
        )


@pytest.mark.parametrize("scheme", ["ssh", "https", "http", "git"])
def test_a_fetch_from_a_silent_remote_times_out_and_leaves_no_process(
    tmp_path: Path, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/blog"
        mirror = mirror_of(tmp_path, url, fetch_timeout=1.0)
        began = time.monotonic()
        assert message_of(mirror.fetch, MAIN) == (
            f"cannot fetch {MAIN} from {url}: not finished within 1s; "
            "is the remote reachable, and fetch_timeout long enough?"
        )
        assert time.monotonic() - began < 8
        assert not processes_called(url)
        assert not processes_called(str(silent.getsockname()[1]))
    assert replacement_leftovers(mirror) == []


def test_a_repository_with_sha256_object_names_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256", "-b", "main", "long")
    git(tmp_path / "long", "commit", "-q", "--allow-empty", "-m", "first")
    mirror = mirror_of(tmp_path, str(tmp_path / "long"))
    assert message_of(mirror.fetch, MAIN) == (
        f"cannot fetch {MAIN} from {tmp_path}/long: mismatched algorithms: client sha1; "
        "server sha256; only repositories with SHA-1 names can be deployed, not SHA-256"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_repository_of_another_account_may_be_fetched_from(
    mirror: Mirror, upstream: Upstream
) -> None:
    for path in (upstream.bare, *upstream.bare.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    assert mirror.remote_tip(MAIN) == upstream.head
    assert mirror.fetch(MAIN) == upstream.head


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_clone_of_another_account_may_be_fetched_from(tmp_path: Path, upstream: Upstream) -> None:
    revision = upstream.head
    for path in (upstream.work, *upstream.work.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    assert mirror_of(tmp_path, str(upstream.work)).fetch(MAIN) == revision


def test_a_tree_with_a_file_named_git_is_refused(mirror: Mirror, upstream: Upstream) -> None:
    blob = git(upstream.work, "hash-object", "-w", "README")
    hidden = subprocess.run(
        ["git", "mktree"],
        cwd=upstream.work,
        input=f"100644 blob {blob}\tconfig\n".encode(),
        capture_output=True,
        check=True,
    ).stdout.decode()
    tree = _tree_with_git_directory(upstream, hidden.strip())
    commit = git(upstream.work, "commit-tree", tree, "-m", "trap")
    git(
        upstream.work,
        "-c",
        "transfer.fsckObjects=false",
        "push",
        "-q",
        "origin",
        f"{commit}:{MAIN}",
        "-f",
    )
    assert message_of(mirror.fetch, MAIN) == (
        f"cannot fetch {MAIN} from {upstream.url}: object {tree}: hasDotgit: contains '.git'"
    )
    assert not mirror.has(commit)


def _tree_with_git_directory(upstream: Upstream, content: str) -> str:
    """Write a tree that contains ``.git``; git mktree would refuse that name."""
    body = b"40000 .git\0" + bytes.fromhex(content)
    path = upstream.work.parent / "tree"
    path.write_bytes(body)
    return git(upstream.work, "hash-object", "-t", "tree", "-w", "--literally", str(path))


def test_no_hook_runs(tmp_path: Path, mirror: Mirror, upstream: Upstream) -> None:
    mirror.fetch(MAIN)
    hooks = Path(mirror.directory) / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    upstream.commit({"README": "two\n"})
    export(mirror, mirror.fetch(MAIN), tmp_path / "out")
    mirror.tidy()
    assert not (tmp_path / "ran").exists()


def test_the_callers_git_variables_have_no_effect(
    tmp_path: Path, mirror: Mirror, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q", "other")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_NAMESPACE", "elsewhere")
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / "index"))
    revision = mirror.fetch(MAIN)
    assert mirror.commit(revision).subject == "first"
    assert mirror.is_ancestor(revision, revision)
    assert (export(mirror, revision, tmp_path / "out") / "README").read_text() == "hello\n"
    assert os.environ["GIT_NAMESPACE"] == "elsewhere"


def test_only_its_account_can_access_a_mirror_whatever_the_umask(
    mirror: Mirror, upstream: Upstream
) -> None:
    before = os.umask(0)
    try:
        mirror.fetch(MAIN)
        upstream.commit({"README": "two\n"})
        mirror.fetch(MAIN)
        mirror.tidy()
    finally:
        os.umask(before)
    mirrors = Path(mirror.directory).parent
    open_to_others = [path for path in mirrors.rglob("*") if path.lstat().st_mode & 0o077]
    assert open_to_others == []


@pytest.mark.parametrize(
    ("url", "stem"),
    [
        ("git@example.org:team/blog.git", "blog"),
        ("https://example.org/blog/", "blog"),
        ("/srv/.hidden", "hidden"),
        ("/srv/日本", "mirror"),
        (f"/srv/{'x' * 300}", "x" * 64),
    ],
)
def test_the_directory_of_a_mirror_is_named_after_its_url(url: str, stem: str) -> None:
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    assert mirror_name(url) == f"{stem}-{digest}.git"


def test_ssh_with_a_key_and_a_known_host(tmp_path: Path, upstream: Upstream) -> None:
    with sshd(tmp_path / "my ssh") as server:
        known = tmp_path / "known hosts"
        url = server.url(upstream.bare)
        keys = {"ssh_key": str(server.key), "known_hosts": str(known)}
        mirror = mirror_of(tmp_path, url, **keys)
        assert message_of(mirror.fetch, MAIN) == (
            f"cannot fetch {MAIN} from {url}: Host key verification failed; "
            "add the server's key to known_hosts: ssh-keyscan HOST >> ~/.ssh/known_hosts, "
            "then compare its fingerprint with the one the forge publishes"
        )
        known.write_text(server.known_host)
        assert mirror.remote_tip(MAIN) == upstream.head
        assert mirror.fetch(MAIN) == upstream.head
        server.authorized.write_text("")
        assert "Permission denied (publickey); add this account's public key" in message_of(
            mirror.fetch, MAIN
        )
