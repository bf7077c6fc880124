"""Tests of checkouts that are moved from commit to commit: created ones and existing clones."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from deployctl.errors import GitError, LayoutError
from deployctl.git.checkout import Checkout
from deployctl.system.process_tree import start_time
from tests.support.upstream import Upstream, git

NOBODY = 65534


@pytest.fixture
def clone(tmp_path: Path, upstream: Upstream) -> Path:
    """A clone that an operator has made: with a local branch and a file that git ignores."""
    path = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(upstream.bare), str(path))
    git(path, "switch", "-q", "--create", "mine")
    (path / ".git" / "info" / "exclude").write_text("*.cache\n")
    (path / "x.cache").write_text("ignored\n")
    return path


def deploy(path: Path, upstream: Upstream, revision: str, number: int = 7) -> str | None:
    """Do what an in-place deployment does; return the ref of the saved changes."""
    checkout = Checkout(str(path))
    checkout.receive(str(upstream.bare), revision)
    saved = checkout.save_changes(revision, number)
    checkout.move(revision)
    return saved


def saved_file(path: Path, name: str, ref: str = "refs/deployctl/saved/7") -> str:
    return git(path, "show", f"{ref}:{name}")


# checkouts that deployctl has created


def test_a_checkout_is_created_at_a_path_that_does_not_exist(
    tmp_path: Path, upstream: Upstream
) -> None:
    checkout = Checkout(str(tmp_path / "sites" / "blog"))
    assert (checkout.exists(), checkout.head()) == (False, None)
    checkout.create()
    assert (checkout.exists(), checkout.head(), checkout.was_deployed_before()) == (
        True,
        None,
        False,
    )
    assert deploy(Path(checkout.path), upstream, upstream.head) is None
    assert (checkout.head(), checkout.was_deployed_before()) == (upstream.head, True)
    assert (tmp_path / "sites" / "blog" / "README").read_text() == "hello\n"


def test_an_interrupted_creation_is_done_anew(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "blog"
    (path / ".git" / "refs").mkdir(parents=True)
    (path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    checkout = Checkout(str(path))
    assert not checkout.exists()
    checkout.create()
    deploy(path, upstream, upstream.head)
    assert checkout.head() == upstream.head


def test_a_directory_with_files_but_no_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blog").mkdir()
    (tmp_path / "blog" / "precious").touch()
    with pytest.raises(LayoutError) as caught:
        Checkout(str(tmp_path / "blog")).create()
    assert str(caught.value) == (
        f"{tmp_path}/blog is not empty and not a git checkout: move it away, or make it a clone "
        "of the repo first"
    )
    assert os.listdir(tmp_path / "blog") == ["precious"]


def test_a_repository_around_the_path_is_not_touched(tmp_path: Path, upstream: Upstream) -> None:
    git(tmp_path, "init", "-q", "outer")
    git(tmp_path / "outer", "commit", "-q", "--allow-empty", "-m", "outer")
    before = git(tmp_path / "outer", "rev-parse", "HEAD")
    path = tmp_path / "outer" / "blog"
    checkout = Checkout(str(path))
    assert checkout.head() is None
    checkout.create()
    deploy(path, upstream, upstream.head)
    assert git(tmp_path / "outer", "rev-parse", "HEAD") == before
    assert checkout.head() == upstream.head


def test_a_broken_repository_is_not_mistaken_for_the_one_around_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "outer")
    git(tmp_path / "outer", "commit", "-q", "--allow-empty", "-m", "outer")
    (tmp_path / "outer" / "blog" / ".git" / "objects").mkdir(parents=True)
    with pytest.raises(GitError) as caught:
        Checkout(str(tmp_path / "outer" / "blog")).head()
    assert str(caught.value) == (
        f"cannot read the checkout {tmp_path}/outer/blog: no HEAD: not a git repository "
        "(or any of the parent directories): .git"
    )


def test_a_checkout_moves_to_a_rewritten_history(tmp_path: Path, upstream: Upstream) -> None:
    path, first = tmp_path / "blog", upstream.head
    Checkout(str(path)).create()
    second = upstream.commit({"README": "two\n"})
    deploy(path, upstream, second)
    upstream.rewind(first)
    third = upstream.commit({"README": "three\n"})
    assert deploy(path, upstream, third) is None
    assert (path / "README").read_text() == "three\n"


def test_a_commit_with_a_release_ref_survives_gc_and_can_be_checked_out(
    tmp_path: Path, upstream: Upstream
) -> None:
    path, first = tmp_path / "blog", upstream.head
    checkout = Checkout(str(path))
    checkout.create()
    deploy(path, upstream, first)
    checkout.keep(1, first)
    upstream.commit({"README": "two\n", "new": "file\n"})
    deploy(path, upstream, upstream.head)
    git(path, "-c", "gc.reflogExpire=now", "gc", "-q", "--prune=now")
    assert checkout.has(first)
    checkout.move(first)
    assert (path / "README").read_text() == "hello\n"
    assert not (path / "new").exists()
    checkout.drop(1)
    checkout.drop(1)
    assert git(path, "for-each-ref", "refs/deployctl/releases") == ""


def test_clearing_leaves_untracked_files(tmp_path: Path, upstream: Upstream) -> None:
    upstream.commit({"dir/page": "hi\n"})
    path = tmp_path / "blog"
    checkout = Checkout(str(path))
    checkout.create()
    deploy(path, upstream, upstream.head)
    (path / "dir" / "upload").write_text("precious\n")
    (path / "README").write_text("changed by a stage\n")
    checkout.clear()
    checkout.clear()
    assert checkout.head() is None
    assert sorted(str(p.relative_to(path)) for p in path.glob("[!.]*/**/*")) == ["dir/upload"]
    assert not (path / "README").exists()
    assert deploy(path, upstream, upstream.head) is None
    assert (path / "README").read_text() == "hello\n"


@pytest.mark.parametrize("umask", [0, 0o077])
def test_files_are_readable_for_a_web_server_whatever_the_umask(
    tmp_path: Path, upstream: Upstream, umask: int
) -> None:
    upstream.commit({"run": "#!/bin/sh\n"})
    path = tmp_path / "sites" / "blog"
    before = os.umask(umask)
    try:
        Checkout(str(path)).create()
        deploy(path, upstream, upstream.head)
    finally:
        os.umask(before)
    modes = [(path / name).stat().st_mode & 0o777 for name in ("..", ".", "README", "run")]
    assert modes == [0o755, 0o755, 0o644, 0o755]


# clones of operators


def test_branches_configuration_and_untracked_files_of_a_clone_are_kept(
    clone: Path, upstream: Upstream
) -> None:
    local = git(clone, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "local")
    git(clone, "reset", "-q", "--hard", local)
    (clone / "notes").write_text("mine\n")
    before = git(clone, "config", "--list", "--local")
    revision = upstream.commit({"README": "two\n"})
    assert not Checkout(str(clone)).was_deployed_before()
    assert deploy(clone, upstream, revision) is None
    assert git(clone, "rev-parse", "HEAD") == revision
    assert git(clone, "rev-parse", "mine") == local
    assert git(clone, "config", "--list", "--local") == before
    assert (clone / "notes").read_text() == "mine\n"
    assert (clone / "x.cache").read_text() == "ignored\n"
    assert (clone / "README").read_text() == "two\n"


def test_changes_are_saved_and_can_be_restored(clone: Path, upstream: Upstream) -> None:
    upstream.commit({"gone": "1\n", "README": "two\n"})
    git(clone, "pull", "-q", "origin", "main")
    (clone / "README").write_text("fixed in production\n")
    (clone / "gone").unlink()
    (clone / "staged").write_text("staged\n")
    git(clone, "add", "staged")
    head = git(clone, "rev-parse", "HEAD")
    revision = upstream.commit({"README": "three\n"})
    assert deploy(clone, upstream, revision) == "refs/deployctl/saved/7"
    assert (clone / "README").read_text() == "three\n"
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "rev-parse", "refs/deployctl/saved/7^") == head
    assert git(clone, "show", "--format=%s|%an", "--name-status", "refs/deployctl/saved/7") == (
        "Changes saved before deployment 7|deployctl\n\nM\tREADME\nD\tgone\nA\tstaged"
    )
    git(clone, "restore", "--source=refs/deployctl/saved/7", "README")
    assert (clone / "README").read_text() == "fixed in production\n"


def test_earlier_saved_changes_are_not_overwritten(clone: Path, upstream: Upstream) -> None:
    for content in ("one", "two", "three"):
        (clone / "README").write_text(content)
        deploy(clone, upstream, upstream.head)
    refs = git(clone, "for-each-ref", "--format=%(refname)", "refs/deployctl/saved").splitlines()
    assert [saved_file(clone, "README", ref) for ref in refs] == ["one", "two", "three"]
    assert refs == [f"refs/deployctl/saved/{name}" for name in ("7", "7.2", "7.3")]


def test_files_with_only_another_time_are_not_changed(clone: Path, upstream: Upstream) -> None:
    os.utime(clone / "README", (1, 1))
    assert deploy(clone, upstream, upstream.commit({"README": "two\n"})) is None


def test_an_untracked_file_that_the_commit_also_has_is_saved(
    clone: Path, upstream: Upstream
) -> None:
    names = ["config/site.yml", "new.cache", "a\nb", "-dash", "*", "ünï"]
    (clone / "config").mkdir()
    for name in names:
        (clone / name).write_text(f"mine {name}")
    (clone / "config" / "other").write_text("stays\n")
    revision = upstream.commit(dict.fromkeys(names, "theirs\n"))
    assert deploy(clone, upstream, revision) == "refs/deployctl/saved/7"
    for name in names:
        assert saved_file(clone, name) == f"mine {name}"
        assert (clone / name).read_text() == "theirs\n"
    assert (clone / "config" / "other").read_text() == "stays\n"
    assert "other" not in git(clone, "ls-tree", "-r", "--name-only", "refs/deployctl/saved/7")


def test_an_untracked_directory_where_the_commit_has_a_file_is_saved(
    clone: Path, upstream: Upstream
) -> None:
    (clone / "data" / "deep").mkdir(parents=True)
    (clone / "data" / "deep" / "upload.cache").write_text("precious")
    (clone / "empty").mkdir()
    revision = upstream.commit({"data": "a file now\n", "empty": "too\n"})
    assert deploy(clone, upstream, revision) == "refs/deployctl/saved/7"
    assert saved_file(clone, "data/deep/upload.cache") == "precious"
    assert (clone / "data").read_text() == "a file now\n"


def test_an_untracked_file_where_the_commit_has_a_directory_is_saved(
    clone: Path, upstream: Upstream
) -> None:
    (clone / "data").write_text("precious")
    revision = upstream.commit({"data/page": "hi\n"})
    assert deploy(clone, upstream, revision) == "refs/deployctl/saved/7"
    assert saved_file(clone, "data") == "precious"
    assert (clone / "data" / "page").read_text() == "hi\n"


def test_a_symlink_where_the_commit_has_a_directory_is_saved_and_not_followed(
    tmp_path: Path, clone: Path, upstream: Upstream
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "page").write_text("outside")
    (clone / "data").symlink_to(tmp_path / "elsewhere")
    revision = upstream.commit({"data/page": "hi\n"})
    assert deploy(clone, upstream, revision) == "refs/deployctl/saved/7"
    assert saved_file(clone, "data") == f"{tmp_path}/elsewhere"
    assert (tmp_path / "elsewhere" / "page").read_text() == "outside"
    assert (clone / "data" / "page").read_text() == "hi\n"


def test_a_directory_of_the_commit_that_became_a_symlink_is_saved(
    tmp_path: Path, clone: Path, upstream: Upstream
) -> None:
    revision = upstream.commit({"data/page": "hi\n"})
    deploy(clone, upstream, revision)
    (tmp_path / "elsewhere").mkdir()
    (clone / "data" / "page").unlink()
    (clone / "data").rmdir()
    (clone / "data").symlink_to(tmp_path / "elsewhere")
    assert deploy(clone, upstream, revision, 8) == "refs/deployctl/saved/8"
    assert saved_file(clone, "data", "refs/deployctl/saved/8") == f"{tmp_path}/elsewhere"
    assert (clone / "data" / "page").read_text() == "hi\n"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_untracked_directory_in_place_of_a_tracked_file_is_saved(
    clone: Path, upstream: Upstream
) -> None:
    deploy(clone, upstream, upstream.commit({"data/page": "hi\n"}))
    (upstream.work / "data" / "page").unlink()
    (upstream.work / "data").rmdir()
    revision = upstream.commit({"data": "file\n"})
    assert deploy(clone, upstream, revision, 8) is None
    (clone / "data").unlink()
    (clone / "data").mkdir()
    (clone / "data" / "upload").write_text("precious")
    assert deploy(clone, upstream, revision, 9) == "refs/deployctl/saved/9"
    assert saved_file(clone, "data/upload", "refs/deployctl/saved/9") == "precious"


def test_a_repository_where_the_commit_has_a_file_is_not_replaced(
    clone: Path, upstream: Upstream
) -> None:
    git(clone, "init", "-q", "vendor/lib")
    head = git(clone, "rev-parse", "HEAD")
    revision = upstream.commit({"vendor": "a file now\n"})
    with pytest.raises(LayoutError) as caught:
        deploy(clone, upstream, revision)
    assert str(caught.value) == (
        f"{clone}/vendor/lib is a git repository where the commit has a file: move it away, "
        "then deploy again"
    )
    assert git(clone, "rev-parse", "HEAD") == head
    assert (clone / "vendor" / "lib" / ".git").is_dir()


def test_files_that_were_added_but_never_committed_are_saved(
    tmp_path: Path, upstream: Upstream
) -> None:
    path = tmp_path / "new"
    git(tmp_path, "init", "-q", "new")
    for name in ("README", "only"):
        (path / name).write_text("mine")
    git(path, "add", ".")
    assert deploy(path, upstream, upstream.head) == "refs/deployctl/saved/7"
    assert (saved_file(path, "README"), saved_file(path, "only")) == ("mine", "mine")
    assert (path / "README").read_text() == "hello\n"


def test_the_files_of_an_unfinished_merge_are_saved(clone: Path, upstream: Upstream) -> None:
    upstream.commit({"README": "theirs\n"})
    (clone / "README").write_text("ours\n")
    git(clone, "commit", "-q", "-am", "ours")
    git(clone, "fetch", "-q")
    with pytest.raises(AssertionError):
        git(clone, "merge", "-q", "origin/main")
    assert deploy(clone, upstream, upstream.head) == "refs/deployctl/saved/7"
    assert "<<<<<<<" in saved_file(clone, "README")
    assert git(clone, "status", "--porcelain") == ""


def test_a_shallow_clone_can_be_moved(tmp_path: Path, upstream: Upstream) -> None:
    upstream.commit({"README": "two\n"})
    git(tmp_path, "clone", "-q", "--depth=1", upstream.url, "shallow")
    revision = upstream.commit({"README": "three\n"})
    deploy(tmp_path / "shallow", upstream, revision)
    assert (tmp_path / "shallow" / "README").read_text() == "three\n"


def test_a_worktree_of_another_repository_can_be_moved(clone: Path, upstream: Upstream) -> None:
    path = clone.parent / "tree"
    git(clone, "worktree", "add", "-q", "--detach", str(path))
    (path / "README").write_text("changed")
    revision = upstream.commit({"README": "two\n"})
    assert Checkout(str(path)).exists()
    assert deploy(path, upstream, revision) == "refs/deployctl/saved/7"
    assert git(path, "rev-parse", "HEAD") == revision
    assert git(clone, "symbolic-ref", "HEAD") == "refs/heads/mine"
    assert saved_file(path, "README") == "changed"


def test_a_submodule_can_be_moved(tmp_path: Path, upstream: Upstream) -> None:
    git(tmp_path, "init", "-q", "super")
    allow = ("-c", "protocol.file.allow=always")
    git(tmp_path / "super", *allow, "submodule", "add", "-q", str(upstream.bare), "blog")
    revision = upstream.commit({"README": "two\n"})
    path = tmp_path / "super" / "blog"
    assert deploy(path, upstream, revision) is None
    assert (path / "README").read_text() == "two\n"


def test_another_working_tree_named_in_the_configuration_is_not_touched(
    tmp_path: Path, clone: Path, upstream: Upstream
) -> None:
    (tmp_path / "elsewhere").mkdir()
    git(clone, "config", "core.worktree", str(tmp_path / "elsewhere"))
    deploy(clone, upstream, upstream.commit({"README": "two\n"}))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (clone / "README").read_text() == "two\n"


def test_the_path_may_be_a_symlink_to_a_clone(
    tmp_path: Path, clone: Path, upstream: Upstream
) -> None:
    (tmp_path / "blog").symlink_to("clone")
    deploy(tmp_path / "blog", upstream, upstream.commit({"README": "two\n"}))
    assert (clone / "README").read_text() == "two\n"


def test_no_hook_of_the_clone_runs(tmp_path: Path, clone: Path, upstream: Upstream) -> None:
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        hook = clone / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
    (clone / "README").write_text("changed")
    deploy(clone, upstream, upstream.commit({"README": "two\n"}))
    assert not (tmp_path / "ran").exists()


def test_the_callers_git_variables_have_no_effect(
    tmp_path: Path, clone: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = upstream.commit({"README": "two\n"})
    monkeypatch.setenv("GIT_DIR", str(upstream.bare))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    (clone / "README").write_text("changed")
    checkout = Checkout(str(clone))
    checkout.receive(str(upstream.bare), revision)
    assert checkout.save_changes(revision, 7) == "refs/deployctl/saved/7"
    checkout.move(revision)
    assert (clone / "README").read_text() == "two\n"
    assert not (tmp_path / "index").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_clone_of_another_account_is_refused_with_advice(clone: Path) -> None:
    for path in (clone, clone / ".git"):
        os.chown(path, NOBODY, NOBODY)
    with pytest.raises(GitError) as caught:
        Checkout(str(clone)).head()
    assert str(caught.value) == (
        f"cannot read the checkout {clone}: no HEAD: detected dubious ownership in repository at "
        f"'{clone}'; run deployctl as the account that owns it, or give it to this one (chown -R)"
    )


# after a crash


@pytest.mark.parametrize(
    "locks",
    [
        ("index.lock", "HEAD.lock"),
        ("refs/deployctl/live.lock", "refs/deployctl/saved/7.lock"),
        ("refs/deployctl/releases/7.lock", "packed-refs.lock", "shallow.lock"),
        ("index.lock", "config.lock", "objects/info/commit-graphs/commit-graph-chain.lock"),
    ],
)
def test_a_stale_lock_of_a_killed_git_process_is_removed(
    clone: Path, upstream: Upstream, locks: tuple[str, ...]
) -> None:
    stale_locks = [clone / ".git" / name for name in locks]
    checkout = Checkout(str(clone))
    (clone / "README").write_text("changed")
    revision = upstream.commit({"README": "two\n"})
    for lock in stale_locks:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    deploy(clone, upstream, revision)
    checkout.keep(7, revision)
    checkout.drop(7)
    assert (clone / "README").read_text() == "two\n"
    assert [lock for lock in stale_locks if lock.exists()] == []


def test_a_stale_lock_of_a_worktree_is_removed_but_not_that_of_its_main_repository(
    tmp_path: Path, clone: Path, upstream: Upstream
) -> None:
    tree = tmp_path / "tree"
    git(clone, "worktree", "add", "-q", "--detach", str(tree))
    worktree_lock = clone / ".git" / "worktrees" / "tree" / "index.lock"
    main_lock = clone / ".git" / "index.lock"
    for lock in (worktree_lock, main_lock):
        lock.touch()
    deploy(tree, upstream, upstream.commit({"README": "two\n"}))
    assert (tree / "README").read_text() == "two\n"
    assert (worktree_lock.exists(), main_lock.exists()) == (False, True)


@pytest.mark.parametrize("name", ["AUTO_MERGE.lock", "refs/heads/mine.lock", "logs/HEAD.lock"])
def test_any_lock_that_is_older_than_this_process_is_removed(
    clone: Path, upstream: Upstream, name: str
) -> None:
    lock = clone / ".git" / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    before = start_time() - 1
    os.utime(lock, (before, before))
    deploy(clone, upstream, upstream.commit({"README": "two\n"}))
    assert not lock.exists()


def test_a_new_lock_of_a_branch_is_not_removed(clone: Path, upstream: Upstream) -> None:
    lock = clone / ".git" / "refs" / "heads" / "mine.lock"
    lock.touch()
    deploy(clone, upstream, upstream.commit({"README": "two\n"}))
    assert lock.exists()


def test_the_lock_of_a_running_git_process_is_not_removed(clone: Path, upstream: Upstream) -> None:
    (clone / ".git" / "index.lock").touch()
    revision = upstream.commit({"README": "two\n"})
    running = subprocess.Popen(["git", "cat-file", "--batch"], cwd=clone, stdin=subprocess.PIPE)
    try:
        until = time.monotonic() + 10
        while not os.path.realpath(f"/proc/{running.pid}/exe").endswith("/git"):
            assert time.monotonic() < until
        with pytest.raises(GitError) as caught:
            deploy(clone, upstream, revision)
    finally:
        running.communicate()
    assert str(caught.value) == (
        f"cannot check {revision} out in {clone}: Unable to create '{clone}/.git/index.lock': File "
        "exists; another git is at work there: try again when it has finished"
    )
    assert (clone / "README").read_text() == "hello\n"


@pytest.mark.parametrize("mode", ["old", "new"])
def test_a_killed_git_leaves_no_lock_but_that_of_others(
    tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Git 2.47 locks AUTO_MERGE in a checkout; no list of names knows what the next one locks."""
    programs = tmp_path / "programs"
    programs.mkdir()
    lock = clone / ".git" / "AUTO_MERGE.lock"
    begin = f"touch -d '1 minute ago' {lock}" if mode == "old" else f"touch {lock}"
    (programs / "git").write_text(f"#!/bin/sh\n{begin}\nkill -KILL $$\n")
    (programs / "git").chmod(0o755)
    monkeypatch.setattr("deployctl.system.environment.PATH", f"{programs}:/usr/bin:/bin")
    with pytest.raises(GitError, match="git was killed by SIGKILL"):
        Checkout(str(clone)).keep(7, "a" * 40)
    assert lock.exists() == (mode == "old")


def test_leftovers_of_an_interrupted_save_do_no_harm(clone: Path, upstream: Upstream) -> None:
    for name in ("deployctl-save.index", "deployctl-save.index.lock"):
        (clone / ".git" / name).write_text("half")
    (clone / "README").write_text("changed")
    assert deploy(clone, upstream, upstream.commit({"README": "two\n"}))
    assert not list((clone / ".git").glob("deployctl-save*"))


def test_packing_keeps_commits_with_a_release_ref(clone: Path, upstream: Upstream) -> None:
    checkout = Checkout(str(clone))
    git(clone, "config", "gc.autoPackLimit", "2")
    for number in range(4):
        revision = upstream.commit({"README": f"{number}\n"})
        deploy(clone, upstream, revision)
        checkout.keep(number, revision)
    packs = clone / ".git" / "objects" / "pack"
    assert len(list(packs.glob("*.pack"))) > 2
    checkout.tidy()
    assert len(list(packs.glob("*.pack"))) == 1
    assert checkout.has(revision)


def test_a_killed_git_process_is_an_error_and_not_a_missing_commit(
    tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a deployment would see no live revision, and a rollback would miss its release."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text("#!/bin/sh\nkill -KILL $$\n")
    (programs / "git").chmod(0o755)
    monkeypatch.setattr("deployctl.system.environment.PATH", f"{programs}:/usr/bin:/bin")
    checkout = Checkout(str(clone))
    for query in (checkout.head, lambda: checkout.has("a" * 40)):
        with pytest.raises(GitError, match="git was killed by SIGKILL"):
            query()


def test_a_change_of_a_file_with_the_flag_assume_unchanged_is_saved(
    clone: Path, upstream: Upstream
) -> None:
    git(clone, "update-index", "--assume-unchanged", "README")
    (clone / "README").write_text("mine\n")
    revision = upstream.commit({"README": "two\n"})
    assert deploy(clone, upstream, revision) == "refs/deployctl/saved/7"
    assert git(clone, "show", "refs/deployctl/saved/7:README") == "mine"
    assert (clone / "README").read_text() == "two\n"


@pytest.mark.parametrize("damage", [b"", b"rubbish" * 10], ids=["empty", "rubbish"])
def test_a_damaged_index_is_rebuilt_and_changes_are_saved(
    clone: Path, upstream: Upstream, damage: bytes
) -> None:
    (clone / "README").write_text("mine\n")
    (clone / ".git" / "index").write_bytes(damage)
    revision = upstream.commit({"README": "two\n"})
    assert deploy(clone, upstream, revision) == "refs/deployctl/saved/7"
    assert (clone / "README").read_text() == "two\n"
    assert git(clone, "status", "--porcelain") == ""


def test_a_worktree_whose_main_repository_is_gone_is_an_error(tmp_path: Path, clone: Path) -> None:
    tree = tmp_path / "tree"
    git(clone, "worktree", "add", "-q", "--detach", str(tree))
    clone.rename(tmp_path / "away")
    with pytest.raises(GitError, match=f"cannot read the checkout {tree}: no HEAD: not a git"):
        Checkout(str(tree)).head()
