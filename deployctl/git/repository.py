"""A repository to read from: which commits it has, what one says of itself, and its files.

What every deployment asks goes to git itself: importing GitPython takes longer than all of that
together, so that is left to the questions that few deployments have.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployctl.errors import ConfigError, GitError
from deployctl.git.command import git, local_environment, process_environment

if TYPE_CHECKING:
    from git import Repo as GitRepo

_LONGEST_SUBJECT = 200  # characters; some tools write the whole message into one line
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
# A line of ls-tree -l: mode, kind, sha, size and path; it begins after the NUL of the one before.
_LINK = re.compile(r"(?:\A|(?<=\0))160000 commit ([0-9a-f]+) +-\t([^\0]+)", re.ASCII)
_SMALL_FILE = re.compile(
    r"(?:\A|(?<=\0))100[0-7]{3} blob ([0-9a-f]+) +(1[2-9][0-9]|[2-9][0-9]{2}|10[0-9]{2})\t([^\0]+)",
    re.ASCII,
)
# What git calls the modes of a tree's entries (git-fast-import(1), filemodify).
_KINDS = {"040000": "a directory", "120000": "a symlink", "160000": "a submodule"}


@dataclass(frozen=True)
class Commit:
    """A commit as people recognise it: whole sha, first line of the message, author's name."""

    revision: str
    subject: str
    author: str


@dataclass(frozen=True)
class Listing:
    """Every file of a commit, as ``ls-tree -r -l -z`` prints them."""

    text: str

    def links(self) -> list[tuple[str, str]]:
        """The submodules: path, and sha of the commit."""
        return [(path, sha) for sha, path in _LINK.findall(self.text)]

    def small_files(self) -> list[tuple[str, str]]:
        """Path and sha of the regular files of 120 to 1,099 bytes."""
        return [(path, sha) for sha, _, path in _SMALL_FILE.findall(self.text)]

    def below(self, directory: str) -> Listing:
        """What is in a directory; empty where the commit has none of that path."""
        lines = self.text.split("\0")
        prefix = f"{directory}/"
        kept = (line for line in lines if line.partition("\t")[2].startswith(prefix))
        return Listing("".join(f"{line}\0" for line in kept))

    def kind_of(self, path: str) -> str | None:
        """What the commit has at a path, or first on the way to it, that is no directory."""
        for line in self.text.split("\0"):
            facts, _, name = line.partition("\t")
            if name and f"{path}/".startswith(f"{name}/"):
                return f"{name} is {_KINDS.get(facts[:6], 'a file')}"
        return None


class Repository:
    """One git directory; ``called`` is what people know it by, in complaints."""

    def __init__(self, directory: str, called: str) -> None:
        self.directory = directory
        self.called = called

    def resolve(self, name: str) -> str:
        """A full ref name or the beginning of a sha -> the commit's whole sha."""
        return self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}",
            what=f"{name} is not a commit of {self.called}",
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
        said = self._git(
            "show", "--no-patch", "--no-show-signature", "--encoding=UTF-8",
            "--format=%H%x00%an%x00%B", "--end-of-options", f"{revision}^{{commit}}", "--",
            what=f"cannot read {self.directory}",
        )  # fmt: skip
        sha, author, message = (_readable(part) for part in said.split("\0", 2))
        subject = message.lstrip("\n").partition("\n")[0]
        return Commit(sha, subject[:_LONGEST_SUBJECT], author)

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

    def listing(self, revision: str) -> Listing:
        """The files of a commit."""
        what = f"cannot list the files of {revision}"
        return Listing(self._git("ls-tree", "-r", "-l", "-z", "--full-tree", revision, what=what))

    def settings(self, revision: str, file: str, pattern: str) -> list[tuple[str, str]]:
        """Keys and values that fit, of a file in git's own format that a commit may have."""
        what = f"cannot read {file} of {revision}"
        if not self._git("ls-tree", revision, "--", file, what=what):
            return []
        words = ("config", f"--blob={revision}:{file}", "-z", "--get-regexp", pattern)
        try:
            said = self._git(*words, what=what)
        except GitError as error:
            if error.git_exit_code == 1:  # git-config(1): no key fits
                return []
            raise
        pairs = (entry.partition("\n") for entry in said.split("\0") if entry)
        return [(key, value) for key, _, value in pairs]

    def blobs(self, shas: list[str]) -> dict[str, bytes]:
        """The contents of some small files, by their sha."""
        said = self._git(
            "cat-file", "--batch", "--buffer",
            what=f"cannot read {self.directory}", stdin="".join(f"{sha}\n" for sha in shas).encode()
        ).encode("utf-8", "surrogateescape")  # fmt: skip
        found, at = {}, 0
        for sha in shas:
            end = said.index(b"\n", at)
            size = int(said[at:end].rpartition(b" ")[2])
            found[sha] = said[end + 1 : end + 1 + size]
            at = end + size + 2
        return found

    def _git(
        self,
        *arguments: str,
        what: str,
        env: dict[str, str] | None = None,
        umask: int = 0o077,
        stdin: bytes = b"",
    ) -> str:
        words = [f"--git-dir={self.directory}", *arguments]
        return git(words, what=what, env=env, umask=umask, stdin=stdin)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[GitRepo]:
        with process_environment(local_environment()):
            import git as gitpython

            try:
                with gitpython.Repo(self.directory) as repository:
                    yield repository
            except (gitpython.exc.GitError, gitpython.exc.ODBError, ValueError) as error:
                raise GitError(f"cannot read {self.directory}: {error}") from error


def is_sha(text: str) -> bool:
    """A whole object id, sha-1 or sha-256."""
    return _SHA.fullmatch(text) is not None


def _readable(text: str) -> str:
    """Without the bytes that are no UTF-8: no record could hold them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_blob(directory: str, revision: str, path: str, limit: int) -> bytes | None:
    """Return the bytes of a regular file of a commit; None where the commit has no such file.

    ConfigError where something else has that name, or where it is larger than ``limit`` bytes.
    """
    what = f"cannot read {path} of {revision}"
    listed = git([f"--git-dir={directory}", "ls-tree", "-l", "-z", revision, "--", path], what=what)
    if not listed:
        return None
    mode, _, name, size = listed.partition("\t")[0].split()
    place = f"{path} in {revision[:12]}"
    if mode in _KINDS:
        raise ConfigError(f"{place} is {_KINDS[mode]}: commit a file there")
    if int(size) > limit:
        raise ConfigError(f"{place} is larger than {limit // 1024} KiB: make it shorter")
    content = git([f"--git-dir={directory}", "cat-file", "blob", name], what=what)
    return content.encode("utf-8", "surrogateescape")
