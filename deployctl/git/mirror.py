"""Keep a bare mirror of a remote under the state directory, and write releases from it.

A mirror is a cache of its remote. A fetch overwrites refs, so a force push is an ordinary fetch and
nothing is ever merged. If a mirror is damaged, or a ref conflicts with another (``a`` and ``a/b``),
a new mirror is fetched beside it and replaces it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace

from deployctl.errors import GitError
from deployctl.git.command import git
from deployctl.git.remote import local_path, remote_environment, trust
from deployctl.git.repository import Repository
from deployctl.git.stale import private_index, remove_index, remove_leftovers
from deployctl.system.durable import sync_file_system
from deployctl.system.leftovers import lock_holder_note
from deployctl.system.locks import mirror_holder_note_path, mirror_lock
from deployctl.values.repo import Repo

# Errors of git that are caused by the mirror, not by the remote: after a power cut, on a full disk,
# or because of a conflict of the refs a and a/b.
_DAMAGED = re.compile(
    r"^(?!remote:).*(?:not a git repository: |bad object|did not send all necessary objects"
    r"|is empty|corrupt|cannot read existing object|unexpected line in|cannot lock ref"
    r"|unable to read|failed to unpack tree)",
    re.MULTILINE,
)


# Errors of servers that send a commit only for the name of a branch or tag, not for its sha.
_NOT_BY_SHA = re.compile(r"unadvertised object|not our ref|couldn't find remote ref", re.IGNORECASE)


class Mirror(Repository):
    """The mirror of one url; repos with the same url share it.

    ``trusted``: repos.yml names the url, so if it is a path on this machine, git reads it even if
    another account owns it.
    """

    def __init__(self, repo: Repo, state_dir: str, *, trusted: bool = True) -> None:
        self.repo = repo
        self.name = mirror_name(repo.url)
        super().__init__(os.path.join(state_dir, "mirrors", self.name), repo.url)
        self.lfs_storage = f"{self.directory}.lfs"
        self._state_dir = state_dir
        self._trusted = trusted
        self._new, self._old = f"{self.directory}.new", f"{self.directory}.old"
        self._damage_mark = os.path.join(self.directory, "deployctl-damaged")
        self._lock = mirror_lock(state_dir, self.name)
        self._note = mirror_holder_note_path(state_dir, self.name)

    def remote_tip(self, ref: str) -> str | None:
        """Ask the remote which commit a ref (full name) points to; None if it has no such ref."""
        output = self._git_with_remote(
            "ls-remote", "--end-of-options", self.repo.url, ref, f"{ref}^{{}}",
            what=f"cannot ask {self.repo.url} for {ref}",
        )  # fmt: skip
        tips = _parse_refs(output)
        return tips.get(f"{ref}^{{}}") or tips.get(ref)

    def remote_tags(self) -> list[tuple[str, str]]:
        """Ask the remote for its tags: pairs of full name and commit, the newest version first.

        A version with a suffix is older than the version without: v2.0-rc1, v2.0, v2.1
        (https://git-scm.com/docs/git-config#Documentation/git-config.txt-versionsortsuffix).
        """
        output = self._git_with_remote(
            "-c", "versionsort.suffix=-",
            "ls-remote", "--tags", "--sort=-version:refname", "--end-of-options", self.repo.url,
            what=f"cannot ask {self.repo.url} for its tags",
        )  # fmt: skip
        refs = _parse_refs(output)
        names = [name for name in refs if not name.endswith("^{}")]
        return [(name, refs.get(f"{name}^{{}}", refs[name])) for name in names]

    def submodule_mirror(self, url: str) -> Mirror:
        """Return the mirror of a submodule's url, with the ssh key and timeouts of this repo.

        The url comes from ``.gitmodules``, not from repos.yml, so it is not trusted.
        """
        return Mirror(replace(self.repo, url=url, dir="."), self._state_dir, trusted=False)

    def fetch(self, ref: str) -> str:
        """Fetch one ref by its full name; return the full sha of the commit it points to."""
        try:
            self._fetch(f"cannot fetch {ref} from {self.repo.url}", f"+{ref}:{ref}")
        except GitError as error:
            if "couldn't find remote ref" in error.output:
                raise GitError(self._no_such_ref(ref), error.output) from None
            raise
        return self.resolve(ref)

    def fetch_revision(self, revision: str) -> None:
        """Fetch one commit by its full sha; some servers refuse that."""
        self._fetch(f"cannot fetch {revision} from {self.repo.url}", revision)

    def pin(self, revision: str) -> None:
        """Fetch a commit by its sha unless it is here, under a ref that protects it from pruning.

        If the server sends no commit by its sha, fetch all branches and tags. Raise GitError if the
        commit is in none of them.
        """
        if self.has(revision):
            return
        what = f"cannot fetch {revision} from {self.repo.url}"
        try:
            self._fetch(what, f"+{revision}:refs/deployctl/pinned/{revision}")
        except GitError as error:
            if not _NOT_BY_SHA.search(error.output):
                raise
            self._fetch(what, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            if not self.has(revision):
                raise GitError(
                    f"{self.repo.url} has no commit {revision}: push it there", error.output
                ) from None
        self.tidy()

    def fetch_lfs(self, revision: str, url: str, below: str) -> None:
        """Fetch the LFS files of a commit from ``url`` into ``lfs_storage``.

        ``below`` is a pattern for the paths to fetch (git-lfs-fetch(1)); empty for all.
        """
        with self._exclusive():
            # Not with lfs.storage: if the remote is a path, git-lfs would use that setting for the
            # remote too, and look for the remote's files there.
            link = os.path.join(self.directory, "lfs")
            os.makedirs(self.lfs_storage, 0o700, exist_ok=True)
            if not os.path.lexists(link):
                os.symlink(f"../{self.name}.lfs", link)
            self._git_with_remote(
                f"--git-dir={self.directory}", "-c", f"lfs.url={url}",
                "lfs", "fetch", f"--include={below}", "--exclude=", self.repo.url, revision,
                what=f"cannot fetch the LFS files of {revision} from {url}",
            )  # fmt: skip
            sync_file_system(self.lfs_storage)

    def ensure_commit(self, revision: str, ref: str) -> None:
        """Fetch a commit unless it is here: first by its sha, then through ``ref``.

        Raise the GitError of the first attempt if both fail.
        """
        if self.has(revision):
            return
        try:
            self.fetch_revision(revision)
        except GitError:
            self.fetch(ref)
            if not self.has(revision):
                raise

    def export(
        self, revision: str, directory: str, *, below: str = "", settings: Sequence[str] = ()
    ) -> None:
        """Write the files of a commit into an empty directory, exactly as the commit has them.

        ``below`` limits it to one directory of the commit, whose files go directly into
        ``directory``. ``settings`` are arguments for git. Not done with ``git archive``, because
        that obeys the attributes export-ignore and export-subst of the commit.
        """
        # ".git": no commit can contain that name, and it is on the file system of the target.
        tree = os.path.join(directory, ".git") if below else directory
        index = private_index(self.directory, os.path.basename(os.path.normpath(directory)))
        call = functools.partial(
            self._git, f"--work-tree={tree}", "-c", "core.sharedRepository=0600", *settings,
            what=f"cannot write {revision} to {directory}",
            env={"GIT_INDEX_FILE": index, "GIT_LITERAL_PATHSPECS": "1"},
            umask=0o022,
        )  # fmt: skip
        try:
            if below:
                os.mkdir(tree)
                call("read-tree", revision)
                # With an index of the whole commit, because .gitattributes of parent directories
                # apply as well.
                names = call("ls-files", "-z", "--", below).encode("utf-8", "surrogateescape")
                call("checkout-index", "--quiet", "-z", "--stdin", stdin=names)
                _move_files(tree, below, directory)
            else:
                call("read-tree", "--reset", "-u", revision)
        except GitError as error:
            if _DAMAGED.search(error.output):
                self._mark_damaged()
            raise
        finally:
            remove_index(index)

    def tidy(self) -> None:
        """Remove leftovers of interrupted fetches, and pack objects if git finds that useful.

        Do nothing if another process is using the mirror.
        """
        if not self.exists() or not self._lock.acquire():
            return
        with self._exclusive():
            self._git(
                "-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet",
                what=f"cannot pack {self.directory}",
            )  # fmt: skip

    def exists(self) -> bool:
        """Tell whether the mirror has been created; it may be damaged."""
        return os.path.exists(os.path.join(self.directory, "HEAD"))

    def _fetch(self, what: str, *refspecs: str) -> None:
        """Fetch into the mirror, or replace it if it is missing or damaged."""
        with self._exclusive():
            if not self.exists() or os.path.lexists(self._damage_mark):
                self._replace_mirror(what, refspecs)
                return
            try:
                self._fetch_into(self.directory, what, refspecs)
            except GitError as error:
                if not _DAMAGED.search(error.output):
                    raise
                self._replace_mirror(what, refspecs)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the mirror's lock while the block runs, and first repair what a crash left.

        A git process that a dead holder of the lock started may still run: it is ended first.
        """
        with self._lock, lock_holder_note(self._note):
            self._remove_leftovers()
            yield

    def _fetch_into(self, directory: str, what: str, refspecs: Sequence[str]) -> None:
        self._git_with_remote(
            f"--git-dir={directory}", "fetch", "--quiet", "--no-tags", "--update-shallow",
            "--no-write-fetch-head", "--end-of-options", self.repo.url, *refspecs,
            what=what,
        )  # fmt: skip

    def _replace_mirror(self, what: str, refspecs: Sequence[str]) -> None:
        """Fetch into a new mirror, and put it in the place of this one when that has succeeded.

        The old mirror stays until then: while the remote cannot be reached, even a damaged mirror
        may be the only source for a rollback.
        """
        try:
            git(
                ["init", "--quiet", "--bare", "--template=", "--", self._new],
                what=f"cannot create the mirror {self.directory}",
            )
            self._fetch_into(self._new, what, refspecs)
            sync_file_system(self._new)  # git syncs what it fetches, but not the new HEAD
            if os.path.lexists(self.directory):
                os.rename(self.directory, self._old)
            os.rename(self._new, self.directory)
        finally:
            self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Finish or undo an interrupted replacement, and remove leftovers of killed git processes.

        The caller holds the mirror's lock.
        """
        if os.path.lexists(self._old) and not os.path.lexists(self.directory):
            os.rename(self._old, self.directory)
        for path in (self._new, self._old):
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(path)  # if a file was in the place of the mirror
        remove_leftovers(self.directory)

    def _mark_damaged(self) -> None:
        """Make the next fetch replace the mirror."""
        with contextlib.suppress(OSError), open(self._damage_mark, "wb"):
            pass

    def _git_with_remote(self, *arguments: str, what: str) -> str:
        """Run a git command that talks to the remote, for at most ``fetch_timeout`` seconds."""
        environment = remote_environment(self.repo)
        path = local_path(self.repo.url)
        if path is not None and self._trusted:
            environment.update(trust(path, f"{self.directory}.config"))
        return git(
            arguments,
            what=what,
            timeout=self.repo.fetch_timeout,
            late="is the remote reachable, and fetch_timeout long enough?",
            env=environment,
        )

    def _no_such_ref(self, ref: str) -> str:
        kind, _, name = ref.removeprefix("refs/").partition("/")
        word = {"heads": "branch", "tags": "tag"}.get(kind, "ref")
        return (
            f"{self.repo.url} has no {word} {name}: push it, or set {word} of {self.repo.name} "
            "in repos.yml"
        )


def _parse_refs(output: str) -> dict[str, str]:
    """Parse the output of ls-remote: full ref name -> sha.

    ``NAME^{}`` is the commit of the annotated tag NAME.
    """
    lines = (line.partition("\t") for line in output.splitlines())
    return {name: sha for sha, _, name in lines}


def mirror_name(url: str) -> str:
    """Return the directory name for a url: its last part and a hash, ``blog-4f1c2a9b8d3e.git``."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "", url.rstrip("/").removesuffix(".git").split("/")[-1])
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return f"{stem.lstrip('.-')[:64] or 'mirror'}-{digest}.git"


def _move_files(tree: str, below: str, directory: str) -> None:
    """Move everything in ``tree/below`` to ``directory``, then remove the empty ``tree``."""
    source = os.path.join(tree, below)
    for name in os.listdir(source):
        os.rename(os.path.join(source, name), os.path.join(directory, name))
    os.removedirs(source)
