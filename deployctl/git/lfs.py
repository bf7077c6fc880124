"""Git LFS: what stands in a commit in the place of large files, and the files themselves.

A pointer is a small text file (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md). What it
points to is kept beside the mirror under its SHA-256, for all repos that share the mirror; git-lfs,
as git's filter, puts it in the pointer's place when a commit is written out.
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

_BEGINS = re.compile(
    rb"version https?://(?:git-lfs\.github\.com|hawser\.github\.com|git-media\.io)/"
)
_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_SIZE = re.compile(rb"^size ([0-9]{1,18})$", re.MULTILINE)
_FILE = ".lfsconfig"


@dataclass(frozen=True)
class Pointer:
    """A file of a commit that points to ``oid``, so many bytes (None: it is not quite right).

    ``inside`` is its path below the directory that is deployed.
    """

    path: str
    inside: str
    oid: str | None
    size: int | None


def pointers(repository: Repository, listing: Listing, below: str) -> list[Pointer]:
    """The pointers among the listed files; only files of the size of one are looked into."""
    small = listing.small_files()
    contents = repository.blobs(sorted({sha for _, sha in small})) if small else {}
    return [
        _pointer(path, below, contents[sha]) for path, sha in small if _BEGINS.match(contents[sha])
    ]


def _pointer(path: str, below: str, text: bytes) -> Pointer:
    oid, size = _OID.search(text), _SIZE.search(text)
    inside = path[len(below) :].lstrip("/")
    if oid is None or size is None:
        return Pointer(path, inside, None, None)
    return Pointer(path, inside, oid[1].decode(), int(size[1]))


def settings(mirror: Mirror, *, required: bool = True) -> list[str]:
    """What makes git put the files in the place of pointers, from nowhere but here.

    Not ``required``: a pointer stays one where its file is not here.
    """
    pairs = {
        "filter.lfs.process": "git-lfs filter-process",
        "filter.lfs.smudge": "git-lfs smudge -- %f",
        "filter.lfs.clean": "git-lfs clean -- %f",
        "filter.lfs.required": "true" if required else "false",
        "lfs.storage": mirror.lfs_storage,
        # The project's .lfsconfig could leave files out; the url leads nowhere, as all is here.
        "lfs.fetchinclude": "",
        "lfs.fetchexclude": "",
        "lfs.url": "file:///dev/null",
    }
    return [word for name, value in pairs.items() for word in ("-c", f"{name}={value}")]


def fetch(mirror: Mirror, reading: Repository, revision: str, found: Sequence[Pointer]) -> None:
    """Bring what the pointers point to, unless all of it is here."""
    if not all(_is_here(mirror, pointer) for pointer in found):
        below = _pattern(mirror.repo.below)
        mirror.fetch_lfs(revision, _url(mirror.repo.url, reading, revision), below)


def _is_here(mirror: Mirror, pointer: Pointer) -> bool:
    oid = pointer.oid
    if oid is None:
        return False
    place = os.path.join(mirror.lfs_storage, "objects", oid[:2], oid[2:4], oid)
    try:
        return os.stat(place).st_size == pointer.size
    except OSError:
        return False


def _url(own: str, reading: Repository, revision: str) -> str:
    """Where git-lfs asks: what the project says, if that may be believed, or beside the repo's own
    (https://github.com/git-lfs/git-lfs/blob/main/docs/api/server-discovery.md).
    """
    path = local_path(own)
    settings_of_project = reading.settings(revision, _FILE, r"^lfs\.url$")
    if settings_of_project:
        said = settings_of_project[-1][1]
        fault = fault_of_url(said, local=False)
        if fault:
            raise GitError(f"{_FILE}: its url {said!r} {fault}; use an https or ssh url")
        return said
    if path is not None:
        return f"file://{path}"
    if own.startswith("https://"):
        return f"{own.rstrip('/').removesuffix('.git')}.git/info/lfs"
    return own


def _pattern(below: str) -> str:
    """For git-lfs-fetch(1); names with a meaning in patterns bring all the rest along."""
    return f"{below}/**" if re.fullmatch(r"[\w./ -]+", below) else ""


def why_not_without(found: Sequence[Pointer], repo: str) -> str:
    """What is wrong with a commit that has pointers where ``lfs`` is off."""
    named = some_of([pointer.path for pointer in found])
    return (
        f"only pointers of git-lfs would be deployed for {named}: set lfs: true of {repo} in "
        "repos.yml"
    )


def left(directory: str, found: Iterable[Pointer]) -> list[Pointer]:
    """Those of which the written file is still a pointer."""
    return [pointer for pointer in found if _is_pointer(os.path.join(directory, pointer.inside))]


def refuse_pointers(directory: str, found: Iterable[Pointer]) -> None:
    """:class:`GitError` where a written file is still a pointer."""
    still = left(directory, found)
    if still:
        raise GitError(
            f"{some_of([pointer.path for pointer in still])}: still pointers of git-lfs, for "
            ".gitattributes has no filter=lfs for them; add it (git lfs track), or commit the "
            "files themselves"
        )


def _is_pointer(path: str) -> bool:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return _BEGINS.match(file.read(64)) is not None
    except OSError:
        return False
