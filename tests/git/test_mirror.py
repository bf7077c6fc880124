"""Tests of mirrors: fetching from all kinds of urls, recovery from damage, writing of files."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployctl.errors import GitError
from deployctl.git.mirror import Mirror, mirror_name
from deployctl.git.repository import Commit, is_sha
from deployctl.store.database import prepare_state_dir
from deployctl.system.locks import mirror_lock
from deployctl.system.process_tree import identity
from deployctl.values.repo import Repo
from tests.git.test_command import processes_called
from tests.support.sshd import sshd
from tests.support.upstream import Upstream, git

INDEX_SUFFIXES = ("", ".lock")
MAIN = "refs/heads/main"
NOBODY = 65534


def mirror_of(tmp_path: Path, url: str, **keys: Any) -> Mirror:
    state = tmp_path / "state"
    prepare_state_dir(str(state))
    repo = Repo(name="blog", url=url, path=str(tmp_path / "blog"), **keys)
    return Mirror(repo, str(state))


@pytest.fixture
def mirror(tmp_path: Path, upstream: Upstream) -> Mirror:
    return mirror_of(tmp_path, upstream.url)


def export(mirror: Mirror, revision: str, directory: Path) -> Path:
    directory.mkdir()
    mirror.export(revision, str(directory))
    return directory


def message_of(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(GitError) as caught:
        call(*arguments)
    return str(caught.value)


def replacement_leftovers(mirror: Mirror) -> list[str]:
    """Return the leftovers of a replacement of the mirror in the directory of mirrors."""
    names = os.listdir(Path(mirror.directory).parent)
    return [name for name in names if name.endswith((".new", ".old"))]


# fetching


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


# urls


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


# safety


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


# after a crash or a power cut


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


# reading


def test_subject_and_author_of_a_commit_are_read(mirror: Mirror, upstream: Upstream) -> None:
    upstream.commit({}, "Überschrift\n\nand more")
    revision = mirror.fetch(MAIN)
    assert mirror.commit(revision) == Commit(revision, "Überschrift", "Ada Lovelace")


def test_a_commit_message_in_another_encoding_is_decoded(
    mirror: Mirror, upstream: Upstream
) -> None:
    git(upstream.work, "config", "i18n.commitEncoding", "ISO-8859-1")
    (upstream.work.parent / "message").write_bytes(b"caf\xe9\n")
    git(upstream.work, "commit", "-q", "--allow-empty", "-F", "../message")
    upstream.push()
    revision = mirror.fetch(MAIN)
    assert mirror.commit(revision) == Commit(revision, "café", "Ada Lovelace")


def test_a_missing_commit_is_a_git_error(mirror: Mirror) -> None:
    mirror.fetch(MAIN)
    with pytest.raises(GitError, match=f"^cannot read {mirror.directory}: "):
        mirror.commit("1" * 40)
    assert message_of(mirror.resolve, "1" * 40) == (
        f"{'1' * 40} is not a commit of {mirror.repo.url}: it gave no reason"
    )


# writing files


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


# names


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 40, True),
        ("0" * 64, True),
        ("a" * 39, False),
        ("a" * 41, False),
        ("A" * 40, False),
        ("a" * 40 + "\n", False),
        ("\u0661" * 40, False),
    ],
)
def test_only_a_full_sha_is_recognised_as_one(text: str, expected: bool) -> None:
    assert is_sha(text) is expected


# a real ssh server


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
