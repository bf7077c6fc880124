"""Move a checkout that is deployed in place (``strategy: in_place``) from commit to commit.

The checkout may have been created by deployctl or cloned by the operator. Its remotes, branches and
untracked files are not touched: only HEAD, the tracked files and refs under ``refs/deployctl/``
change, and nothing is ever merged.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import time
from collections.abc import Sequence

from deployctl.errors import GitError, LayoutError
from deployctl.git.command import git
from deployctl.git.obstacles import find_obstacles, remove_partial_checkout
from deployctl.git.repository import Repository
from deployctl.git.stale import (
    is_repairable,
    remove_index,
    remove_locks_of_killed_git,
    remove_stale_locks,
    repair,
)
from deployctl.system.durable import sync_file_system

_LIVE = "refs/deployctl/live"
_NO_DEPLOYMENT = "refs/heads/deployctl-nothing-deployed"
_UMASK = 0o022
# git init creates one file after another, so a new repository is created as .git.new and renamed
# when it is complete: a .git is complete even after a power cut.
_GIT_DIRECTORIES = (".git", ".git.new")
# Errors of git for a full disk, an exceeded quota, or a file that is too large.
_DISK_FULL = re.compile(
    r"unable to (?:write|create) file|No space left|quota exceeded", re.IGNORECASE
)


class Checkout:
    """A working tree with its own ``.git``; ``settings`` are arguments for every call of git."""

    def __init__(self, path: str, settings: Sequence[str] = ()) -> None:
        self.path = path
        self.settings = settings

    def exists(self) -> bool:
        """Tell whether there is a complete repository.

        ``.git`` is either a file that names a git directory, or a directory with ``objects``, which
        git creates last.
        """
        git_dir = os.path.join(self.path, ".git")
        return os.path.isfile(git_dir) or os.path.isdir(os.path.join(git_dir, "objects"))

    def directories(self) -> list[str]:
        """Return the working tree, its git directory, and the repository that it shares, if any.

        The last two may be outside of the working tree (git-worktree(1), submodules).
        """
        git_dir = os.path.join(self.path, ".git")
        if os.path.isdir(git_dir):
            return [self.path, git_dir]
        output = self._git(
            "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir",
            what=f"{self.path} is no checkout",
        )  # fmt: skip
        return [self.path, *dict.fromkeys(output.splitlines())]

    def create(self) -> None:
        """Create an empty repository at a path that does not exist or is an empty directory."""
        git_dir, new_dir = (os.path.join(self.path, name) for name in _GIT_DIRECTORIES)
        if os.path.isdir(self.path) and set(os.listdir(self.path)) - {*_GIT_DIRECTORIES}:
            raise LayoutError(
                f"{self.path} is not empty and not a git checkout: move it away, or make it a "
                "clone of the repo first"
            )
        what = f"cannot create {self.path}"
        shutil.rmtree(new_dir, ignore_errors=True)
        git(["init", "--quiet", "--bare", "--template=", "--", new_dir], what=what, umask=_UMASK)
        git([f"--git-dir={new_dir}", "config", "core.bare", "false"], what=what, umask=_UMASK)
        sync_file_system(new_dir)
        shutil.rmtree(git_dir, ignore_errors=True)
        os.rename(new_dir, git_dir)

    def head(self) -> str | None:
        """Return the full sha of the commit that is checked out; None if there is none."""
        if not self.exists():
            return None
        try:
            return self._git("rev-parse", "--verify", "--quiet", "HEAD", what="no HEAD")
        except GitError as error:
            if error.output or not error.is_answer:
                raise GitError(f"cannot read the checkout {self.path}: {error}") from None
            return None

    def was_deployed_before(self) -> bool:
        """Tell whether deployctl has moved this checkout before."""
        return self._ref_exists(_LIVE)

    def receive(self, mirror: str, revision: str) -> None:
        """Fetch a commit from ``mirror``, the directory of a mirror on this machine."""
        if self.has(revision):
            return
        self._git(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options",
            mirror, revision, what=f"cannot bring {revision} into {self.path}",
        )  # fmt: skip

    def save_changes(self, target: str, number: int) -> str | None:
        """Save everything that a move to the commit ``target`` would overwrite.

        That is every changed tracked file, and every untracked file in the place of a file of the
        target. Return the ref of the commit that has them, None if there is nothing to save.
        ``number`` is the deployment's.
        """
        self.remove_stale_locks()
        head = self.head()
        tracked = self._tracked()
        obstacles = find_obstacles(self.path, self._files_of(target), tracked)
        changed = self.is_changed() if head else bool(tracked)
        if not changed and not obstacles:
            return None
        self._refuse_nested_repositories(obstacles)
        what = f"cannot save the changes in {self.path}"
        tree = self._write_tree(obstacles, what)
        if head and tree == self._git("rev-parse", f"{head}^{{tree}}", what=what):
            return None
        commit = self._commit(tree, head, f"Changes saved before deployment {number}", what)
        ref = self._free_ref(f"refs/deployctl/saved/{number}")
        self._git("update-ref", ref, commit, what=what)
        return ref

    def move(self, revision: str) -> None:
        """Check a commit out: tracked files become those of the commit, untracked files stay."""
        self.remove_stale_locks()
        try:
            self._git(
                "checkout", "--quiet", "--force", "--detach", revision, "--",
                what=f"cannot check {revision} out in {self.path}",
            )  # fmt: skip
        except GitError as error:
            if _DISK_FULL.search(error.output):
                remove_partial_checkout(self.path, set(self._files_of(revision)) - self._tracked())
            raise
        self._git("update-ref", _LIVE, revision, what=f"cannot mark {revision} as live")

    def fill_pointers(self) -> None:
        """Write the LFS files in place of the pointers that a checkout has left unchanged."""
        self._git("lfs", "checkout", what=f"cannot write the LFS files of {self.path}")

    def keep(self, number: int, revision: str) -> None:
        """Give a commit a ref, so that a rollback can use it even after a force push.

        ``number`` is that of the deployment that built it.
        """
        self._git(
            "update-ref", f"refs/deployctl/releases/{number}", revision,
            what=f"cannot keep {revision} in {self.path}",
        )  # fmt: skip

    def drop(self, number: int) -> None:
        """Remove the ref that :meth:`keep` has given to the release of a deployment."""
        self.remove_stale_locks()
        self._git(
            "update-ref", "-d", f"refs/deployctl/releases/{number}",
            what=f"cannot drop the ref of release {number} in {self.path}",
        )  # fmt: skip

    def clear(self) -> None:
        """Remove all tracked files and leave HEAD without a commit; untracked files stay."""
        self.remove_stale_locks()
        what = f"cannot clear {self.path}"
        empty = self._git("hash-object", "-t", "tree", "-w", "/dev/null", what=what)
        self._git("read-tree", "--reset", "-u", empty, what=what)
        self._git("symbolic-ref", "HEAD", _NO_DEPLOYMENT, what=what)

    def leave(self) -> None:
        """Remove the tracked files, and the whole directory if nothing in it has to be kept.

        Untracked files and saved changes are kept.
        """
        self.clear()
        saved = self._ref_exists("refs/deployctl/saved")
        if not saved and os.listdir(self.path) == [".git"]:
            shutil.rmtree(self.path)

    def tidy(self) -> None:
        """Remove stale locks, and pack objects if git finds that useful."""
        self.remove_stale_locks()
        self._git(
            "-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet",
            what=f"cannot pack {self.path}",
        )  # fmt: skip

    def repository(self) -> Repository:
        """Return the repository of this checkout, to read commits from."""
        return Repository(self.directories()[1], self.path)

    def has(self, revision: str) -> bool:
        """Tell whether the repository has this commit; raise GitError if git could not tell."""
        try:
            self._git(
                "cat-file", "-e", f"{revision}^{{commit}}",
                what=f"cannot look for {revision} in {self.path}",
            )  # fmt: skip
        except GitError as error:
            if not error.is_answer:
                raise
            return False
        return True

    def _tracked(self) -> set[str]:
        """Return the files in the index; remove their flag assume-unchanged.

        git does not notice changes of a file with that flag, so they would be overwritten without
        being saved. ``ls-files -v`` shows such files with a tag in lower case (git-ls-files(1)).
        """
        entries = [entry.split(" ", 1) for entry in self._file_names("ls-files", "-v", "-z")]
        flagged = [name for tag, name in entries if tag.islower()]
        if flagged:
            self._git(
                "update-index", "-z", "--no-assume-unchanged", "--stdin",
                what=f"cannot look at every file of {self.path}",
                stdin="\0".join([*flagged, ""]).encode("utf-8", "surrogateescape"),
            )  # fmt: skip
        return {name for _, name in entries}

    def is_changed(self) -> bool:
        """Tell whether the content of a tracked file differs from HEAD; times do not count."""
        names = self._git(
            "diff", "--name-only", "--no-ext-diff", "--ignore-submodules=all", "HEAD", "--",
            what=f"cannot compare {self.path} with its commit",
        )  # fmt: skip
        return bool(names)

    def _refuse_nested_repositories(self, names: list[str]) -> None:
        """Raise LayoutError if a repository is in one of these paths: git could not save it."""
        for name in names:
            for parent, directories, files in os.walk(os.path.join(self.path, name)):
                if ".git" in directories or ".git" in files:
                    raise LayoutError(
                        f"{parent} is a git repository where the commit has a file: move it away, "
                        "then deploy again"
                    )

    def _files_of(self, revision: str) -> list[str]:
        """Return the files and symlinks of a commit, without submodules (mode 160000).

        git writes nothing but an empty directory for a submodule.
        """
        output = self._file_names("ls-tree", "-r", "-z", revision)
        entries = (entry.partition("\t") for entry in output)
        return [name for metadata, _, name in entries if not metadata.startswith("160000")]

    def _file_names(self, *arguments: str) -> list[str]:
        output = self._git(*arguments, what=f"cannot list the files of {self.path}")
        return [name for name in output.split("\0") if name]

    def _write_tree(self, extra: list[str], what: str) -> str:
        """Store the tracked files as they are on disk, and the ``extra`` ones; return their tree.

        That is done in an index of its own, so the index of the checkout does not change.
        """
        index = self._git("rev-parse", "--absolute-git-dir", what=what) + "/deployctl-save.index"
        env = {"GIT_INDEX_FILE": index, "GIT_LITERAL_PATHSPECS": "1"}
        try:
            remove_index(index)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(os.path.join(os.path.dirname(index), "index"), index)
            self._git("add", "--update", ".", what=what, env=env)
            if extra:
                names = "\0".join(extra).encode("utf-8", "surrogateescape")
                self._git(
                    "add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul",
                    what=what, env=env, stdin=names,
                )  # fmt: skip
            return self._git("write-tree", what=what, env=env)
        finally:
            remove_index(index)

    def _commit(self, tree: str, parent: str | None, message: str, what: str) -> str:
        return self._git(
            "-c", "user.name=deployctl", "-c", "user.email=deployctl@localhost",
            "commit-tree", tree, *(["-p", parent] if parent else []), "-m", message,
            what=what,
        )  # fmt: skip

    def _free_ref(self, base: str) -> str:
        """Return ``base``, or ``base.2`` and so on if earlier attempts have saved changes there."""
        names = (base if attempt == 1 else f"{base}.{attempt}" for attempt in range(1, 1000))
        return next(name for name in names if not self._ref_exists(name))

    def _ref_exists(self, name: str) -> bool:
        return bool(self._git("for-each-ref", name, what=f"cannot read {self.path}"))

    def remove_stale_locks(self) -> None:
        """Remove the locks of killed git processes, unless git is running in the checkout.

        git itself never removes such a lock.
        """
        remove_stale_locks(self.path, self.directories()[1:])

    def _git(
        self,
        *arguments: str,
        what: str,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
    ) -> str:
        """Run git in this working tree; return its output without the last line break.

        git uses neither a repository around the path nor a ``core.worktree`` of the configuration.
        If a stale lock or a damaged index made git fail, repair that and run git once more. If git
        was killed, remove the locks that it has left: this process may live on for hours.
        """
        parent = os.path.dirname(os.path.realpath(self.path))
        call = functools.partial(
            git,
            ["-C", self.path, *self.settings, "--work-tree=.", *arguments],
            what=what,
            env={"GIT_CEILING_DIRECTORIES": parent, **(env or {})},
            umask=_UMASK,
            stdin=stdin,
        )
        began = time.time()
        try:
            return call()
        except BaseException as error:  # a signal to this process kills git as well
            if not isinstance(error, GitError) or not error.is_answer:
                self._remove_new_locks(began)
                raise
            output = error.output
            if not is_repairable(output) or not repair(self.path, self.directories()[1:], output):
                raise
        return call()

    def _remove_new_locks(self, began: float) -> None:
        """Remove what a git that was started at ``began``, and killed, has locked.

        In a working tree that shares its repository nothing is known to be of that git alone.
        """
        git_dir = os.path.join(self.path, ".git")
        if os.path.isdir(git_dir):
            remove_locks_of_killed_git(self.path, git_dir, began)
