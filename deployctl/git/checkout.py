"""A checkout that is deployed in place: moved from commit to commit, never merged.

It may be one of ours or somebody's own clone: its remotes, branches and untracked files are left
alone; only HEAD, the tracked files and refs under ``refs/deployctl/`` change.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
from collections.abc import Sequence

from deployctl.errors import GitError, LayoutError
from deployctl.git.command import git
from deployctl.git.obstacles import obstacles, take_back
from deployctl.git.repository import Repository
from deployctl.git.stale import is_mendable, mended, remove_index, remove_stale_locks
from deployctl.system.durable import sync_file_system

_LIVE = "refs/deployctl/live"
_NOTHING = "refs/heads/deployctl-nothing-deployed"
_UMASK = 0o022
# What is whole, also after a power cut, and what it is made as: git makes one file after another.
_OURS = (".git", ".git.new")
# git's words where the disk is full, a quota is used up, or a file too large for it.
_FULL = re.compile(r"unable to (?:write|create) file|No space left|quota exceeded", re.IGNORECASE)


class Checkout:
    """One working tree with its own ``.git``; ``settings`` are words for every git."""

    def __init__(self, path: str, settings: Sequence[str] = ()) -> None:
        self.path = path
        self.settings = settings

    def exists(self) -> bool:
        """Whether there is a whole ``.git``: a file that names it, or with what git makes last."""
        place = os.path.join(self.path, ".git")
        return os.path.isfile(place) or os.path.isdir(os.path.join(place, "objects"))

    def directories(self) -> list[str]:
        """The working tree, and git's own, which may lie elsewhere."""
        place = os.path.join(self.path, ".git")
        if os.path.isdir(place):
            return [self.path, place]
        found = self._git(
            "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir",
            what=f"{self.path} is no checkout",
        )  # fmt: skip
        return [self.path, *dict.fromkeys(found.splitlines())]

    def create(self) -> None:
        """A repository with nothing in it yet, at a path that is free or an empty directory."""
        place, beside = (os.path.join(self.path, name) for name in _OURS)
        if os.path.isdir(self.path) and set(os.listdir(self.path)) - {*_OURS}:
            raise LayoutError(
                f"{self.path} is not empty and not a git checkout: move it away, or make it a "
                "clone of the repo first"
            )
        what = f"cannot create {self.path}"
        shutil.rmtree(beside, ignore_errors=True)
        git(["init", "--quiet", "--bare", "--template=", "--", beside], what=what, umask=_UMASK)
        git([f"--git-dir={beside}", "config", "core.bare", "false"], what=what, umask=_UMASK)
        sync_file_system(beside)
        shutil.rmtree(place, ignore_errors=True)
        os.rename(beside, place)

    def head(self) -> str | None:
        """The commit that is checked out; None where nothing is."""
        if not self.exists():
            return None
        try:
            return self._git("rev-parse", "--verify", "--quiet", "HEAD", what="no HEAD")
        except GitError as error:
            if error.output or not error.is_answer:
                raise GitError(f"cannot read the checkout {self.path}: {error}") from None
            return None

    def is_ours(self) -> bool:
        """Whether deployctl has moved this checkout before."""
        return self._ref_exists(_LIVE)

    def receive(self, mirror: str, revision: str) -> None:
        """Bring a commit in from the mirror on this machine."""
        if self.has(revision):
            return
        self._git(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options",
            mirror, revision, what=f"cannot bring {revision} into {self.path}",
        )  # fmt: skip

    def save_changes(self, target: str, number: int) -> str | None:
        """Keep what a move to ``target`` would overwrite -> the ref that has it, None if nothing.

        That is every changed tracked file, and what git does not track where the target has files.
        """
        self.remove_stale_locks()
        head = self.head()
        tracked = self._tracked()
        in_the_way = obstacles(self.path, self._files_of(target), tracked)
        changed = self._is_changed() if head else bool(tracked)
        if not changed and not in_the_way:
            return None
        self._refuse_repositories(in_the_way)
        what = f"cannot save the changes in {self.path}"
        tree = self._write_tree(in_the_way, what)
        if head and tree == self._git("rev-parse", f"{head}^{{tree}}", what=what):
            return None
        commit = self._commit(tree, head, f"What stood here before deployment {number}", what)
        ref = self._free_ref(f"refs/deployctl/saved/{number}")
        self._git("update-ref", ref, commit, what=what)
        return ref

    def move(self, revision: str) -> None:
        """Check a commit out: tracked files become the commit's, untracked ones stay."""
        self.remove_stale_locks()
        try:
            self._git(
                "checkout", "--quiet", "--force", "--detach", revision, "--",
                what=f"cannot check {revision} out in {self.path}",
            )  # fmt: skip
        except GitError as error:
            if _FULL.search(error.output):
                take_back(self.path, set(self._files_of(revision)) - self._tracked())
            raise
        self._git("update-ref", _LIVE, revision, what=f"cannot mark {revision} as live")

    def fill_pointers(self) -> None:
        """Put in the place of pointers of git-lfs what is here, also where git sees no change."""
        self._git("lfs", "checkout", what=f"cannot write the LFS files of {self.path}")

    def keep(self, number: int, revision: str) -> None:
        """Keep a commit to go back to, whatever happens to the branch it was on."""
        self._git(
            "update-ref", f"refs/deployctl/releases/{number}", revision,
            what=f"cannot keep {revision} in {self.path}",
        )  # fmt: skip

    def drop(self, number: int) -> None:
        self.remove_stale_locks()
        self._git(
            "update-ref", "-d", f"refs/deployctl/releases/{number}",
            what=f"cannot drop the ref of release {number} in {self.path}",
        )  # fmt: skip

    def clear(self) -> None:
        """Back to nothing deployed: tracked files go, untracked ones stay."""
        self.remove_stale_locks()
        what = f"cannot clear {self.path}"
        empty = self._git("hash-object", "-t", "tree", "-w", "/dev/null", what=what)
        self._git("read-tree", "--reset", "-u", empty, what=what)
        self._git("symbolic-ref", "HEAD", _NOTHING, what=what)

    def leave(self) -> None:
        """Nothing deployed here any more: it goes, but for what is not ours or was saved."""
        self.clear()
        saved = self._ref_exists("refs/deployctl/saved")
        if not saved and os.listdir(self.path) == [".git"]:
            shutil.rmtree(self.path)

    def tidy(self) -> None:
        """Remove what git left; pack what many deployments brought, when it is worth the time."""
        self.remove_stale_locks()
        self._git(
            "-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet",
            what=f"cannot pack {self.path}",
        )  # fmt: skip

    def repository(self) -> Repository:
        """What it has in git, to be read."""
        return Repository(self.directories()[1], self.path)

    def has(self, revision: str) -> bool:
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
        """The files in the index, from here on with none that git was told not to look at.

        ``ls-files -v`` shows those in lower case (git-ls-files(1)); what was changed in one of them
        would be overwritten, and not be saved.
        """
        entries = [entry.split(" ", 1) for entry in self._names("ls-files", "-v", "-z")]
        unseen = [name for tag, name in entries if tag.islower()]
        if unseen:
            self._git(
                "update-index", "-z", "--no-assume-unchanged", "--stdin",
                what=f"cannot look at every file of {self.path}",
                stdin="\0".join([*unseen, ""]).encode("utf-8", "surrogateescape"),
            )  # fmt: skip
        return {name for _, name in entries}

    def _is_changed(self) -> bool:
        """By content: a file that was only touched is what it was."""
        names = self._git(
            "diff", "--name-only", "--no-ext-diff", "--ignore-submodules=all", "HEAD", "--",
            what=f"cannot compare {self.path} with its commit",
        )  # fmt: skip
        return bool(names)

    def _refuse_repositories(self, names: list[str]) -> None:
        """git saves no repository inside another one, so nothing may be put in its place."""
        for name in names:
            for place, directories, files in os.walk(os.path.join(self.path, name)):
                if ".git" in directories or ".git" in files:
                    raise LayoutError(
                        f"{place} is a git repository where the commit has a file: move it away, "
                        "then deploy again"
                    )

    def _files_of(self, revision: str) -> list[str]:
        """The commit's files and symlinks; a submodule (160000) is but an empty directory."""
        entries = (entry.partition("\t") for entry in self._names("ls-tree", "-r", "-z", revision))
        return [name for kind, _, name in entries if not kind.startswith("160000")]

    def _names(self, *arguments: str) -> list[str]:
        output = self._git(*arguments, what=f"cannot list the files of {self.path}")
        return [name for name in output.split("\0") if name]

    def _write_tree(self, extra: list[str], what: str) -> str:
        """A tree of the tracked files as they are on disk, and of the extra ones."""
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
        """The name itself, or with ``.2`` and so on where an attempt before saved something."""
        names = (base if attempt == 1 else f"{base}.{attempt}" for attempt in range(1, 1000))
        return next(name for name in names if not self._ref_exists(name))

    def _ref_exists(self, name: str) -> bool:
        return bool(self._git("for-each-ref", name, what=f"cannot read {self.path}"))

    def remove_stale_locks(self) -> None:
        """What a killed git left of ours would be there for good; a living git's stays."""
        remove_stale_locks(self.path, self.directories()[1:])

    def _git(
        self,
        *arguments: str,
        what: str,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
    ) -> str:
        """git in this working tree and no other, neither one around it nor a configured one.

        A lock in its way that a killed git left is removed; that of a living one stays.
        """
        around = os.path.dirname(os.path.realpath(self.path))
        call = functools.partial(
            git,
            ["-C", self.path, *self.settings, "--work-tree=.", *arguments],
            what=what,
            env={"GIT_CEILING_DIRECTORIES": around, **(env or {})},
            umask=_UMASK,
            stdin=stdin,
        )
        try:
            return call()
        except GitError as error:
            said = error.output
            if not is_mendable(said) or not mended(self.path, self.directories()[1:], said):
                raise
        return call()
