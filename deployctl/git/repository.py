"""Read a git repository: find commits, read their messages, list and read their files.

Whatever every deployment needs is asked of the git command: importing GitPython takes longer than
all those calls together. GitPython is imported only for questions that few deployments ask.
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

_LONGEST_SUBJECT = 200  # characters; some tools write the whole commit message into one line
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
# An entry of ls-tree -l -z: mode, type, sha, size, tab, path. It begins after the NUL that ends the
# entry before. Mode 160000 is a submodule.
_SUBMODULE = re.compile(r"(?:\A|(?<=\0))160000 commit ([0-9a-f]+) +-\t([^\0]+)", re.ASCII)
_SMALL_FILE = re.compile(
    r"(?:\A|(?<=\0))100[0-7]{3} blob ([0-9a-f]+) +(1[2-9][0-9]|[2-9][0-9]{2}|10[0-9]{2})\t([^\0]+)",
    re.ASCII,
)
# The modes of entries in a tree that are not regular files (git-fast-import(1), filemodify).
_KINDS = {"040000": "a directory", "120000": "a symlink", "160000": "a submodule"}


@dataclass(frozen=True)
class Commit:
    """A commit as it is shown: full sha, first line of the message, author's name."""

    revision: str
    subject: str
    author: str


@dataclass(frozen=True)
class Listing:
    """The files of a commit; ``text`` is the output of ``git ls-tree -r -l -z``."""

    text: str

    def links(self) -> list[tuple[str, str]]:
        """Return the submodules as pairs: path, and sha of the commit that is recorded."""
        return [(path, sha) for sha, path in _SUBMODULE.findall(self.text)]

    def small_files(self) -> list[tuple[str, str]]:
        """Return path and sha of every regular file of 120 to 1,099 bytes."""
        return [(path, sha) for sha, _, path in _SMALL_FILE.findall(self.text)]

    def below(self, directory: str) -> Listing:
        """Return the files below a directory; empty if the commit has no such directory."""
        entries = self.text.split("\0")
        prefix = f"{directory}/"
        kept = (entry for entry in entries if entry.partition("\t")[2].startswith(prefix))
        return Listing("".join(f"{entry}\0" for entry in kept))

    def describe_non_directory(self, path: str) -> str | None:
        """Say why a path is not a directory of the commit, such as "web is a symlink".

        The text is about the path or one of its parents. None: the commit has neither.
        """
        for entry in self.text.split("\0"):
            metadata, _, name = entry.partition("\t")
            if name and f"{path}/".startswith(f"{name}/"):
                return f"{name} is {_KINDS.get(metadata[:6], 'a file')}"
        return None


class Repository:
    """A git directory to read from; ``display_name`` names it in error messages."""

    def __init__(self, directory: str, display_name: str) -> None:
        self.directory = directory
        self.display_name = display_name

    def resolve(self, name: str) -> str:
        """Return the full sha of the commit that a full ref name or the start of a sha names."""
        return self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}",
            what=f"{name} is not a commit of {self.display_name}",
        )  # fmt: skip

    def has(self, revision: str) -> bool:
        """Tell whether the repository has this commit; raise GitError if git could not tell."""
        try:
            self.resolve(revision)
        except GitError as error:
            if not error.is_answer:
                raise
            return False
        return True

    def commit(self, revision: str) -> Commit:
        """Read a commit; its subject is cut to 200 characters."""
        output = self._git(
            "show", "--no-patch", "--no-show-signature", "--encoding=UTF-8",
            "--format=%H%x00%an%x00%B", "--end-of-options", f"{revision}^{{commit}}", "--",
            what=f"cannot read {self.directory}",
        )  # fmt: skip
        sha, author, message = (_valid_utf8(part) for part in output.split("\0", 2))
        subject = message.lstrip("\n").partition("\n")[0]
        return Commit(sha, subject[:_LONGEST_SUBJECT], author)

    def is_ancestor(self, revision: str, of: str) -> bool:
        """Tell whether ``revision`` is reachable from the commit ``of``."""
        with self._gitpython() as repository:
            return repository.is_ancestor(repository.commit(revision), repository.commit(of))

    def changed_paths(self, old: str, new: str) -> list[str]:
        """Return the paths that differ between two commits; both paths of a moved file."""
        output = self._git(
            "diff", "--name-only", "--no-renames", "-z", "--end-of-options", old, new, "--",
            what=f"cannot compare {old} with {new}",
        )  # fmt: skip
        return [path for path in output.split("\0") if path]

    def listing(self, revision: str) -> Listing:
        """List all files of a commit, in all directories."""
        what = f"cannot list the files of {revision}"
        return Listing(self._git("ls-tree", "-r", "-l", "-z", "--full-tree", revision, what=what))

    def config_values(self, revision: str, file: str, pattern: str) -> list[tuple[str, str]]:
        """Return keys and values from a file of a commit in the format of git-config(1).

        ``pattern`` is a regular expression for keys. Empty: no such file, or no key matches.
        """
        what = f"cannot read {file} of {revision}"
        if not self._git("ls-tree", revision, "--", file, what=what):
            return []
        arguments = ("config", f"--blob={revision}:{file}", "-z", "--get-regexp", pattern)
        try:
            output = self._git(*arguments, what=what)
        except GitError as error:
            if error.git_exit_code == 1:  # git-config(1): no key matches
                return []
            raise
        pairs = (entry.partition("\n") for entry in output.split("\0") if entry)
        return [(key, value) for key, _, value in pairs]

    def blobs(self, shas: list[str]) -> dict[str, bytes]:
        """Return the contents of small files: sha of the blob -> bytes."""
        output = self._git(
            "cat-file", "--batch", "--buffer",
            what=f"cannot read {self.directory}", stdin="".join(f"{sha}\n" for sha in shas).encode()
        ).encode("utf-8", "surrogateescape")  # fmt: skip
        contents, position = {}, 0
        for sha in shas:  # git-cat-file(1): SHA SP TYPE SP SIZE LF CONTENTS LF
            end = output.index(b"\n", position)
            size = int(output[position:end].rpartition(b" ")[2])
            contents[sha] = output[end + 1 : end + 1 + size]
            position = end + size + 2
        return contents

    def _git(
        self,
        *arguments: str,
        what: str,
        env: dict[str, str] | None = None,
        umask: int = 0o077,
        stdin: bytes = b"",
    ) -> str:
        command = [f"--git-dir={self.directory}", *arguments]
        return git(command, what=what, env=env, umask=umask, stdin=stdin)

    @contextlib.contextmanager
    def _gitpython(self) -> Iterator[GitRepo]:
        """Open the repository with GitPython; raise GitError for the errors of GitPython."""
        with process_environment(local_environment()):
            import git as gitpython

            try:
                with gitpython.Repo(self.directory) as repository:
                    yield repository
            except (gitpython.exc.GitError, gitpython.exc.ODBError, ValueError) as error:
                raise GitError(f"cannot read {self.directory}: {error}") from error


def is_sha(text: str) -> bool:
    """Tell whether the text is a full object id in lower case, SHA-1 or SHA-256."""
    return _SHA.fullmatch(text) is not None


def _valid_utf8(text: str) -> str:
    """Replace bytes that are not UTF-8, because SQLite text could not hold them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_blob(directory: str, revision: str, path: str, limit: int) -> bytes | None:
    """Return the bytes of a regular file of a commit; None if the commit has no such path.

    Raise ConfigError if the path is not a regular file, or the file is larger than ``limit`` bytes.
    """
    what = f"cannot read {path} of {revision}"
    entry = git([f"--git-dir={directory}", "ls-tree", "-l", "-z", revision, "--", path], what=what)
    if not entry:
        return None
    mode, _, sha, size = entry.partition("\t")[0].split()
    place = f"{path} in {revision[:12]}"
    if mode in _KINDS:
        raise ConfigError(f"{place} is {_KINDS[mode]}: commit a file there")
    if int(size) > limit:
        raise ConfigError(f"{place} is larger than {limit // 1024} KiB: make it shorter")
    content = git([f"--git-dir={directory}", "cat-file", "blob", sha], what=what)
    return content.encode("utf-8", "surrogateescape")
