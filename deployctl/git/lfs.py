"""Find the Git LFS pointers of a commit, fetch their files, and check that they were written.

A pointer is a small text file that a commit has in place of a large file
(https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md). The large file is stored beside the
mirror under its SHA-256, for all repos that share the mirror. When git writes the files of a
commit, git-lfs runs as its filter and writes the large file in place of the pointer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deployctl.errors import GitError
from deployctl.git.mirror import Mirror
from deployctl.git.remote import local_path
from deployctl.git.repository import Listing, Repository
from deployctl.git.submodules import fault_of_url
from deployctl.values.text import some_of

_POINTER_START = re.compile(
    rb"version https?://(?:git-lfs\.github\.com|hawser\.github\.com|git-media\.io)/"
)
_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_SIZE = re.compile(rb"^size ([0-9]{1,18})$", re.MULTILINE)
_FILE = ".lfsconfig"


@dataclass(frozen=True)
class Pointer:
    """A pointer file of a commit, and the large file that it points to.

    ``path`` is its path in the commit, ``deployed_path`` the one below the directory that is
    deployed. ``oid`` is the SHA-256 of the large file and ``size`` its bytes; both are None if the
    pointer is malformed.
    """

    path: str
    deployed_path: str
    oid: str | None
    size: int | None


def find_pointers(repository: Repository, listing: Listing, below: str) -> list[Pointer]:
    """Return the pointers among the listed files; only files of a pointer's size are read.

    ``below`` is the directory of the commit that is deployed; empty for the whole commit.
    """
    small_files = listing.small_files()
    contents = repository.blobs(sorted({sha for _, sha in small_files})) if small_files else {}
    return [
        _pointer(path, below, contents[sha])
        for path, sha in small_files
        if _POINTER_START.match(contents[sha])
    ]


def _pointer(path: str, below: str, text: bytes) -> Pointer:
    oid, size = _OID.search(text), _SIZE.search(text)
    deployed_path = path[len(below) :].lstrip("/")
    if oid is None or size is None:
        return Pointer(path, deployed_path, None, None)
    return Pointer(path, deployed_path, oid[1].decode(), int(size[1]))


def git_arguments(mirror: Mirror, *, required: bool = True) -> list[str]:
    """Return arguments for git that make it write LFS files, from this machine only.

    ``required``: git fails if a file is not in the mirror's LFS storage; otherwise it writes the
    pointer.
    """
    pairs = {
        "filter.lfs.process": "git-lfs filter-process",
        "filter.lfs.smudge": "git-lfs smudge -- %f",
        "filter.lfs.clean": "git-lfs clean -- %f",
        "filter.lfs.required": "true" if required else "false",
        "lfs.storage": mirror.lfs_storage,
        # .lfsconfig of the commit could exclude files. The url is never used: all files are here.
        "lfs.fetchinclude": "",
        "lfs.fetchexclude": "",
        "lfs.url": "file:///dev/null",
    }
    return [word for name, value in pairs.items() for word in ("-c", f"{name}={value}")]


def fetch(
    mirror: Mirror, repository: Repository, revision: str, pointers: Sequence[Pointer]
) -> None:
    """Fetch the files of the pointers into the mirror's LFS storage, unless all are there."""
    if not all(_is_stored(mirror, pointer) for pointer in pointers):
        below = _include_pattern(mirror.repo.subdirectory)
        mirror.fetch_lfs(revision, _lfs_url(mirror.repo.url, repository, revision), below)


def _is_stored(mirror: Mirror, pointer: Pointer) -> bool:
    oid = pointer.oid
    if oid is None:
        return False
    path = os.path.join(mirror.lfs_storage, "objects", oid[:2], oid[2:4], oid)
    try:
        return os.stat(path).st_size == pointer.size
    except OSError:
        return False


def _lfs_url(repo_url: str, repository: Repository, revision: str) -> str:
    """Return the url of the LFS server: from ``.lfsconfig`` of the commit, else from the repo's url
    (https://github.com/git-lfs/git-lfs/blob/main/docs/api/server-discovery.md).

    Raise GitError if the one in ``.lfsconfig`` is refused.
    """
    path = local_path(repo_url)
    configured = repository.config_values(revision, _FILE, r"^lfs\.url$")
    if configured:
        url = configured[-1][1]
        fault = fault_of_url(url, local=False)
        if fault:
            raise GitError(f"{_FILE}: its url {url!r} {fault}; use an https or ssh url")
        return url
    if path is not None:
        return f"file://{path}"
    if repo_url.startswith("https://"):
        return f"{repo_url.rstrip('/').removesuffix('.git')}.git/info/lfs"
    return repo_url


def _include_pattern(below: str) -> str:
    """Return the ``--include`` of git-lfs-fetch(1) for a directory; empty means all files.

    A directory name with characters that are special in patterns also gives all files.
    """
    return f"{below}/**" if re.fullmatch(r"[\w./ -]+", below) else ""


def pointers_without_lfs(pointers: Sequence[Pointer], repo: str) -> str:
    """Return the error message for a commit that has pointers while ``lfs`` of the repo is off."""
    paths = some_of([pointer.path for pointer in pointers])
    return (
        f"only pointers of git-lfs would be deployed for {paths}: set lfs: true of {repo} in "
        "repos.yml"
    )


def unreplaced_pointers(directory: str, pointers: Iterable[Pointer]) -> list[Pointer]:
    """Return the pointers whose file in ``directory`` was not replaced: it is still a pointer."""
    return [
        pointer
        for pointer in pointers
        if _is_pointer(os.path.join(directory, pointer.deployed_path))
    ]


def refuse_pointers(directory: str, pointers: Iterable[Pointer]) -> None:
    """Raise :class:`GitError` if a file in ``directory`` is still a pointer."""
    remaining = unreplaced_pointers(directory, pointers)
    if remaining:
        raise GitError(
            f"{some_of([pointer.path for pointer in remaining])}: still pointers of git-lfs, for "
            ".gitattributes has no filter=lfs for them; add it (git lfs track), or commit the "
            "files themselves"
        )


def _is_pointer(path: str) -> bool:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return _POINTER_START.match(file.read(64)) is not None
    except OSError:
        return False
