"""The bare mirror under the state directory: fetched into, read and checked out from.

A mirror is a cache of its remote. Fetching replaces refs whatever happened to the branch, so a
force push is an ordinary fetch and nothing is ever merged; a mirror that is damaged, or whose
refs are in each other's way, is fetched anew beside and swapped in.
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
from deployctl.git.stale import own_index, remove_index, remove_leftovers
from deployctl.system.durable import sync_file_system
from deployctl.system.leftovers import noted_holder
from deployctl.system.locks import mirror_lock, mirror_note
from deployctl.values.repo import Repo

# What git says when the fault is on our side: a power cut, a full disk, refs a and a/b.
_DAMAGED = re.compile(
    r"^(?!remote:).*(?:not a git repository: |bad object|did not send all necessary objects"
    r"|is empty|corrupt|cannot read existing object|unexpected line in|cannot lock ref"
    r"|unable to read|failed to unpack tree)",
    re.MULTILINE,
)


# What servers say that give a commit only by the name of a branch or tag.
_NOT_BY_SHA = re.compile(r"unadvertised object|not our ref|couldn't find remote ref", re.IGNORECASE)


class Mirror(Repository):
    """The mirror of one url; repos with the same url share it.

    ``trusted`` is a url that repos.yml names: its owner on this machine does not matter.
    """

    def __init__(self, repo: Repo, state_dir: str, *, trusted: bool = True) -> None:
        self.repo = repo
        self.name = mirror_name(repo.url)
        super().__init__(os.path.join(state_dir, "mirrors", self.name), repo.url)
        self.lfs_storage = f"{self.directory}.lfs"
        self._state_dir = state_dir
        self._trusted = trusted
        self._new, self._old = f"{self.directory}.new", f"{self.directory}.old"
        self._mark = os.path.join(self.directory, "deployctl-damaged")
        self._lock = mirror_lock(state_dir, self.name)
        self._note = mirror_note(state_dir, self.name)

    def remote_tip(self, ref: str) -> str | None:
        """Ask the remote for a ref by its full name -> the commit, None without such a ref."""
        output = self._ask(
            "ls-remote", "--end-of-options", self.repo.url, ref, f"{ref}^{{}}",
            what=f"cannot ask {self.repo.url} for {ref}",
        )  # fmt: skip
        tips = _refs(output)
        return tips.get(f"{ref}^{{}}") or tips.get(ref)

    def remote_tags(self) -> list[tuple[str, str]]:
        """Ask the remote for its tags -> (full name, commit), the newest version first.

        A suffix comes before what it is put to: v2.0-rc1, v2.0, v2.1
        (https://git-scm.com/docs/git-config#Documentation/git-config.txt-versionsortsuffix).
        """
        output = self._ask(
            "-c", "versionsort.suffix=-",
            "ls-remote", "--tags", "--sort=-version:refname", "--end-of-options", self.repo.url,
            what=f"cannot ask {self.repo.url} for its tags",
        )  # fmt: skip
        found = _refs(output)
        names = [name for name in found if not name.endswith("^{}")]
        return [(name, found.get(f"{name}^{{}}", found[name])) for name in names]

    def of_submodule(self, url: str) -> Mirror:
        """The mirror of another url, one that the project names; key and limits are the repo's."""
        return Mirror(replace(self.repo, url=url, dir="."), self._state_dir, trusted=False)

    def fetch(self, ref: str) -> str:
        """Bring one ref, by its full name, up to date -> the commit it points to."""
        try:
            self._fetch(f"cannot fetch {ref} from {self.repo.url}", f"+{ref}:{ref}")
        except GitError as error:
            if "couldn't find remote ref" in error.output:
                raise GitError(self._no_such_ref(ref), error.output) from None
            raise
        return self.resolve(ref)

    def fetch_revision(self, revision: str) -> None:
        """Bring one commit that no configured ref leads to; servers may refuse."""
        self._fetch(f"cannot fetch {revision} from {self.repo.url}", revision)

    def pin(self, revision: str) -> None:
        """Have a commit of which nothing but the sha is known, and keep it from here on."""
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
        """Bring the contents that git-lfs keeps of a commit, or of one directory of it."""
        with self._alone():
            # Not lfs.storage: where the remote is a path, git-lfs would look for that one's there.
            link = os.path.join(self.directory, "lfs")
            os.makedirs(self.lfs_storage, 0o700, exist_ok=True)
            if not os.path.lexists(link):
                os.symlink(f"../{self.name}.lfs", link)
            self._ask(
                f"--git-dir={self.directory}", "-c", f"lfs.url={url}",
                "lfs", "fetch", f"--include={below}", "--exclude=", self.repo.url, revision,
                what=f"cannot fetch the LFS files of {revision} from {url}",
            )  # fmt: skip
            sync_file_system(self.lfs_storage)

    def bring(self, revision: str, ref: str) -> None:
        """Have a commit here: it is, or the remote gives it by its sha, or the ref leads to it."""
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
        """Write the whole tree of a commit into an empty directory, as the commit has it.

        Not ``git archive``: that obeys export-ignore and export-subst of the repository itself.
        ``below`` is a directory of the commit, and ``settings`` are words for git.
        """
        # A name that no commit can have, and that is on the right disk.
        tree = os.path.join(directory, ".git") if below else directory
        index = own_index(self.directory, os.path.basename(os.path.normpath(directory)))
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
                # Through the whole index: .gitattributes further up have their say.
                names = call("ls-files", "-z", "--", below).encode("utf-8", "surrogateescape")
                call("checkout-index", "--quiet", "-z", "--stdin", stdin=names)
                _move_up(tree, below, directory)
            else:
                call("read-tree", "--reset", "-u", revision)
        except GitError as error:
            if _DAMAGED.search(error.output):
                self._distrust()
            raise
        finally:
            remove_index(index)

    def tidy(self) -> None:
        """Remove what a fetch left half done; pack, when git finds it worth the time."""
        if not self.exists() or not self._lock.acquire():
            return
        with self._alone():
            self._git(
                "-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet",
                what=f"cannot pack {self.directory}",
            )  # fmt: skip

    def exists(self) -> bool:
        return os.path.exists(os.path.join(self.directory, "HEAD"))

    def _fetch(self, what: str, *refspecs: str) -> None:
        with self._alone():
            if not self.exists() or os.path.lexists(self._mark):
                self._renew(what, refspecs)
                return
            try:
                self._fetch_into(self.directory, what, refspecs)
            except GitError as error:
                if not _DAMAGED.search(error.output):
                    raise
                self._renew(what, refspecs)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes here, not even the git of one who died; nothing half done is left."""
        with self._lock, noted_holder(self._note):
            self._settle()
            yield

    def _fetch_into(self, directory: str, what: str, refspecs: Sequence[str]) -> None:
        self._ask(
            f"--git-dir={directory}", "fetch", "--quiet", "--no-tags", "--update-shallow",
            "--no-write-fetch-head", "--end-of-options", self.repo.url, *refspecs,
            what=what,
        )  # fmt: skip

    def _renew(self, what: str, refspecs: Sequence[str]) -> None:
        """Another mirror in the place of this one, once it has been fetched; until then it stays.

        Even a damaged one may be all there is of a release to go back to while the remote is away.
        """
        try:
            git(
                ["init", "--quiet", "--bare", "--template=", "--", self._new],
                what=f"cannot create the mirror {self.directory}",
            )
            self._fetch_into(self._new, what, refspecs)
            sync_file_system(self._new)  # git syncs what it fetches, and not the HEAD it makes
            if os.path.lexists(self.directory):
                os.rename(self.directory, self._old)
            os.rename(self._new, self.directory)
        finally:
            self._settle()

    def _settle(self) -> None:
        """What a git that died left half done here."""
        if os.path.lexists(self._old) and not os.path.lexists(self.directory):
            os.rename(self._old, self.directory)
        for beside in (self._new, self._old):
            shutil.rmtree(beside, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(beside)  # where a file had the mirror's name
        remove_leftovers(self.directory)

    def _distrust(self) -> None:
        """It is replaced when the remote is asked the next time."""
        with contextlib.suppress(OSError), open(self._mark, "wb"):
            pass

    def _ask(self, *arguments: str, what: str) -> str:
        """git with the remote at the other end."""
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


def _refs(output: str) -> dict[str, str]:
    """What ls-remote prints -> sha by full name; ``NAME^{}`` is the commit of an annotated tag."""
    lines = (line.partition("\t") for line in output.splitlines())
    return {name: sha for sha, _, name in lines}


def mirror_name(url: str) -> str:
    """One directory per url, recognisable by people: ``blog-4f1c2a9b8d3e.git``."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "", url.rstrip("/").removesuffix(".git").split("/")[-1])
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return f"{stem.lstrip('.-')[:64] or 'mirror'}-{digest}.git"


def _move_up(tree: str, below: str, directory: str) -> None:
    """What was written to ``tree/below`` becomes all that the directory has."""
    place = os.path.join(tree, below)
    for name in os.listdir(place):
        os.rename(os.path.join(place, name), os.path.join(directory, name))
    os.removedirs(place)
