"""The bare mirror under the state directory: fetched into, read and checked out from.

A mirror is a cache of its remote. Fetching replaces refs whatever happened to the branch, so a
force push is an ordinary fetch and nothing is ever merged; a mirror that is damaged, or whose
refs are in each other's way, is fetched anew beside and swapped in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployctl.durable import sync_file_system
from deployctl.errors import GitError
from deployctl.git.command import git, local_environment, process_environment
from deployctl.git.leftovers import own_index, remove_index, remove_leftovers
from deployctl.git.remote import local_path, remote_environment, trust
from deployctl.leftovers import noted_holder
from deployctl.lock import mirror_lock, mirror_note
from deployctl.repo import Repo

if TYPE_CHECKING:
    from git import Repo as GitRepo

_LONGEST_SUBJECT = 200  # characters; some tools write the whole message into one line
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)

# What git says when the fault is on our side: a power cut, a full disk, refs a and a/b.
_DAMAGED = re.compile(
    r"^(?!remote:).*(?:not a git repository: |bad object|did not send all necessary objects"
    r"|is empty|corrupt|cannot read existing object|unexpected line in|cannot lock ref"
    r"|unable to read|failed to unpack tree)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Commit:
    """A commit as people recognise it: whole sha, first line of the message, author's name."""

    revision: str
    subject: str
    author: str


class Mirror:
    """The mirror of one url; repos with the same url share it."""

    def __init__(self, repo: Repo, state_dir: str) -> None:
        self.repo = repo
        self.name = mirror_name(repo.url)
        self.directory = os.path.join(state_dir, "mirrors", self.name)
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

    def fetch(self, ref: str) -> str:
        """Bring one ref, by its full name, up to date -> the commit it points to."""
        try:
            self._fetch(f"+{ref}:{ref}", f"cannot fetch {ref} from {self.repo.url}")
        except GitError as error:
            if "couldn't find remote ref" in error.output:
                raise GitError(self._no_such_ref(ref), error.output) from None
            raise
        return self.resolve(ref)

    def fetch_revision(self, revision: str) -> None:
        """Bring one commit that no configured ref leads to; servers may refuse."""
        self._fetch(revision, f"cannot fetch {revision} from {self.repo.url}")

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

    def resolve(self, name: str) -> str:
        """A full ref name or the beginning of a sha -> the commit's whole sha."""
        return self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}",
            what=f"{name} is not a commit of {self.repo.url}",
        )  # fmt: skip

    def has(self, revision: str) -> bool:
        try:
            self.resolve(revision)
        except GitError as error:
            if not error.is_answer:
                raise
            return False
        return True

    def commit(self, revision: str) -> Commit:
        """What a commit says of itself."""
        with self._reading() as repository:
            found = repository.commit(revision)
            subject = str(found.summary)[:_LONGEST_SUBJECT]
            return Commit(found.hexsha, subject, found.author.name or "")

    def is_ancestor(self, revision: str, of: str) -> bool:
        """Whether a commit is reachable from another one."""
        with self._reading() as repository:
            return repository.is_ancestor(repository.commit(revision), repository.commit(of))

    def changed_paths(self, old: str, new: str) -> list[str]:
        """The files that differ between two commits; of a moved one both names."""
        output = self._git(
            "diff", "--name-only", "--no-renames", "-z", "--end-of-options", old, new, "--",
            what=f"cannot compare {old} with {new}",
        )  # fmt: skip
        return [path for path in output.split("\0") if path]

    def export(self, revision: str, directory: str) -> None:
        """Write the whole tree of a commit into an empty directory, as the commit has it.

        Not ``git archive``: that obeys export-ignore and export-subst of the repository itself.
        """
        index = own_index(self.directory, os.path.basename(directory))
        try:
            self._git(
                f"--work-tree={directory}", "-c", "core.sharedRepository=0600",
                "read-tree", "--reset", "-u", revision,
                what=f"cannot write {revision} to {directory}",
                env={"GIT_INDEX_FILE": index},
                umask=0o022,
            )  # fmt: skip
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

    def _fetch(self, refspec: str, what: str) -> None:
        with self._alone():
            if not self.exists() or os.path.lexists(self._mark):
                self._renew(refspec, what)
                return
            try:
                self._fetch_into(self.directory, refspec, what)
            except GitError as error:
                if not _DAMAGED.search(error.output):
                    raise
                self._renew(refspec, what)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes here, not even the git of one who died; nothing half done is left."""
        with self._lock, noted_holder(self._note):
            self._settle()
            yield

    def _fetch_into(self, directory: str, refspec: str, what: str) -> None:
        self._ask(
            f"--git-dir={directory}", "fetch", "--quiet", "--no-tags",
            "--update-shallow", "--no-write-fetch-head", "--end-of-options", self.repo.url, refspec,
            what=what,
        )  # fmt: skip

    def _renew(self, refspec: str, what: str) -> None:
        """Another mirror in the place of this one, once it has been fetched; until then it stays.

        Even a damaged one may be all there is of a release to go back to while the remote is away.
        """
        try:
            git(
                ["init", "--quiet", "--bare", "--template=", "--", self._new],
                what=f"cannot create the mirror {self.directory}",
            )
            self._fetch_into(self._new, refspec, what)
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
        if path is not None:
            environment.update(trust(path, f"{self.directory}.config"))
        return git(
            arguments,
            what=what,
            timeout=self.repo.fetch_timeout,
            late="is the remote reachable, and fetch_timeout long enough?",
            env=environment,
        )

    def _git(
        self, *arguments: str, what: str, env: dict[str, str] | None = None, umask: int = 0o077
    ) -> str:
        return git([f"--git-dir={self.directory}", *arguments], what=what, env=env, umask=umask)

    def _no_such_ref(self, ref: str) -> str:
        kind, _, name = ref.removeprefix("refs/").partition("/")
        word = {"heads": "branch", "tags": "tag"}.get(kind, "ref")
        return (
            f"{self.repo.url} has no {word} {name}: push it, or set {word} of {self.repo.name} "
            "in repos.yml"
        )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[GitRepo]:
        with process_environment(local_environment()):
            import git as gitpython

            try:
                with gitpython.Repo(self.directory) as repository:
                    yield repository
            except (gitpython.exc.GitError, gitpython.exc.ODBError, ValueError) as error:
                raise GitError(f"cannot read {self.directory}: {error}") from error


def _refs(output: str) -> dict[str, str]:
    """What ls-remote prints -> sha by full name; ``NAME^{}`` is the commit of an annotated tag."""
    lines = (line.partition("\t") for line in output.splitlines())
    return {name: sha for sha, _, name in lines}


def mirror_name(url: str) -> str:
    """One directory per url, recognisable by people: ``blog-4f1c2a9b8d3e.git``."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "", url.rstrip("/").removesuffix(".git").split("/")[-1])
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return f"{stem.lstrip('.-')[:64] or 'mirror'}-{digest}.git"


def is_sha(text: str) -> bool:
    """A whole object id, sha-1 or sha-256."""
    return _SHA.fullmatch(text) is not None
