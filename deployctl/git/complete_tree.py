"""Fetch and write the parts of a commit: its own files, its submodules, and their LFS files.

Everything is fetched before anything is written, so that building a release, also an older one for
a rollback, contacts no server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from deployctl.errors import GitError
from deployctl.git import lfs
from deployctl.git.mirror import Mirror
from deployctl.git.repository import Listing, Repository
from deployctl.git.submodules import Submodule, local_root_of, submodules
from deployctl.values.text import some_of


@dataclass(frozen=True)
class Part:
    """A commit of one repository, the repo's own or a submodule's, and where its files go.

    ``place`` is the directory for its files, relative to the release; empty for the release itself.
    ``below`` is the directory of the commit that is deployed (``dir``); empty for the whole commit.
    ``pointers`` are its files that git-lfs has to replace.
    """

    mirror: Mirror
    revision: str
    place: str
    below: str
    pointers: tuple[lfs.Pointer, ...]

    @property
    def settings(self) -> list[str]:
        """Return arguments for git that make it write LFS files in place of pointers."""
        return lfs.git_arguments(self.mirror) if self.pointers else []


@dataclass(frozen=True)
class Parts:
    """All parts of a commit, a repository before its submodules; ``messages`` are warnings."""

    all: tuple[Part, ...]
    messages: tuple[str, ...]


def fetch_parts(mirror: Mirror, revision: str, repository: Repository | None = None) -> Parts:
    """Fetch everything that the commit consists of into mirrors on this machine.

    ``repository`` has the commit already; None: the mirror has it. Raise :class:`GitError` if a
    part cannot be fetched or would be deployed incompletely.
    """
    warnings: list[str] = []
    collector = _Collector(local_root_of(mirror.repo.url), warnings)
    parts = tuple(collector.parts(mirror, revision, "", repository or mirror))
    return Parts(parts, tuple(warnings))


def write_parts(parts: Parts, directory: str) -> None:
    """Write all parts into an empty directory."""
    for part in parts.all:
        target = os.path.join(directory, part.place)
        if part.place and not _is_empty_directory_inside(target, directory, part.place):
            raise GitError(
                f"submodule {part.place}: {target} is not an empty directory inside the release: "
                "look for a symlink or a file in the commit that has its name"
            )
        part.mirror.export(part.revision, target, below=part.below, settings=part.settings)
        lfs.refuse_pointers(target, part.pointers)


def _is_empty_directory_inside(target: str, directory: str, name: str) -> bool:
    """Tell whether ``target`` is an empty directory really at ``directory/name``.

    Where the file system takes ``a`` and ``A`` for one name, a symlink of the commit can redirect
    the path of a submodule.
    """
    is_inside = os.path.realpath(target) == os.path.join(os.path.realpath(directory), name)
    return is_inside and os.path.isdir(target) and not os.listdir(target)


@dataclass(frozen=True)
class _Collector:
    """The fetching of all parts of one commit.

    ``local_root`` is the directory of this machine that urls of submodules may point into; None:
    no submodule may come from this machine.
    """

    local_root: str | None
    warnings: list[str]

    def parts(
        self, mirror: Mirror, revision: str, place: str, repository: Repository
    ) -> Iterator[Part]:
        """Fetch a commit's LFS files and submodules; yield it, then the parts of its submodules."""
        below = mirror.repo.subdirectory
        listing = _deployed_files(repository, revision, below)
        pointers = lfs.find_pointers(repository, listing, below)
        if pointers and not mirror.repo.lfs:
            raise GitError(lfs.pointers_without_lfs(pointers, mirror.repo.name))
        lfs.fetch(mirror, repository, revision, pointers)
        yield Part(mirror, revision, place, below, tuple(pointers))
        if not mirror.repo.submodules:
            self._warn_of_empty_submodules(listing, mirror.repo.name)
            return
        url, root = mirror.repo.url, self.local_root
        for submodule in submodules(repository, revision, listing, url=url, local_root=root):
            deployed_path = submodule.path[len(below) :].lstrip("/")
            yield from self._submodule(mirror, submodule, os.path.join(place, deployed_path))

    def _submodule(self, mirror: Mirror, submodule: Submodule, place: str) -> Iterator[Part]:
        nested = mirror.submodule_mirror(submodule.url)
        try:
            nested.pin(submodule.revision)
            yield from self.parts(nested, submodule.revision, place, nested)
        except GitError as error:
            raise GitError(f"submodule {place}: {error}", error.output) from None

    def _warn_of_empty_submodules(self, listing: Listing, repo: str) -> None:
        links = listing.links()
        if links:
            paths = some_of([path for path, _ in links])
            self.warnings.append(
                f"warning: submodules stay empty ({paths}): set submodules: true of {repo} in "
                "repos.yml"
            )


def _deployed_files(repository: Repository, revision: str, below: str) -> Listing:
    """List the files below the directory ``below``, or all files of the commit if it is empty.

    Raise :class:`GitError` if the commit has no such directory.
    """
    listing = repository.listing(revision)
    if not below:
        return listing
    inside = listing.below(below)
    if not inside.text:
        description = listing.describe_non_directory(below)
        why = f": {description}" if description else ""
        raise GitError(
            f"{revision[:12]} has no directory {below}{why}; push one, or change dir in repos.yml"
        )
    return inside
