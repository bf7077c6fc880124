"""All that a commit consists of: its own files, its submodules', and what git-lfs keeps of them.

It is brought here before anything is written, so that a release is built, and an older one built
again, without a word to any server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from deployctl.errors import GitError
from deployctl.git import lfs
from deployctl.git.mirror import Mirror
from deployctl.git.repository import Listing, Repository
from deployctl.git.submodules import Submodule, directory_of, submodules
from deployctl.values.text import some_of


@dataclass(frozen=True)
class Part:
    """The commit of one repository; ``place`` is where its files go, relative, empty for the root.

    ``below`` is the directory of the commit that is meant; empty for all of it.
    """

    mirror: Mirror
    revision: str
    place: str
    below: str
    pointers: tuple[lfs.Pointer, ...]

    @property
    def settings(self) -> list[str]:
        return lfs.settings(self.mirror) if self.pointers else []


@dataclass(frozen=True)
class Parts:
    """The parts of a commit, outer ones first, and what a person should know of it."""

    all: tuple[Part, ...]
    told: tuple[str, ...]


def gather(mirror: Mirror, revision: str, reading: Repository | None = None) -> Parts:
    """Bring all that the commit consists of here; ``reading`` has the commit, else the mirror has.

    :class:`GitError` where some of it cannot be had, or would be deployed half.
    """
    told: list[str] = []
    gathering = _Gathering(directory_of(mirror.repo.url), told)
    return Parts(tuple(gathering.parts(mirror, revision, "", reading or mirror)), tuple(told))


def write(parts: Parts, directory: str) -> None:
    """Write all parts into an empty directory."""
    for part in parts.all:
        place = os.path.join(directory, part.place)
        if part.place and not _is_free(place, directory, part.place):
            raise GitError(
                f"submodule {part.place}: {place} is no empty directory of its own; look for a "
                "symlink or a file in its way in the commit"
            )
        part.mirror.export(part.revision, place, below=part.below, settings=part.settings)
        lfs.refuse_pointers(place, part.pointers)


def _is_free(place: str, directory: str, name: str) -> bool:
    """Where the disk takes a and A for one, a symlink of the commit can lead elsewhere."""
    real = os.path.realpath(place) == os.path.join(os.path.realpath(directory), name)
    return real and os.path.isdir(place) and not os.listdir(place)


@dataclass(frozen=True)
class _Gathering:
    """``directory`` is where submodules on this machine may be; None: nowhere."""

    directory: str | None
    told: list[str]

    def parts(
        self, mirror: Mirror, revision: str, place: str, reading: Repository
    ) -> Iterator[Part]:
        below = mirror.repo.below
        listing = _listing(reading, revision, below)
        found = lfs.pointers(reading, listing, below)
        if found and not mirror.repo.lfs:
            raise GitError(lfs.why_not_without(found, mirror.repo.name))
        lfs.fetch(mirror, reading, revision, found)
        yield Part(mirror, revision, place, below, tuple(found))
        if not mirror.repo.submodules:
            self._warn(listing, mirror.repo.name)
            return
        url, near = mirror.repo.url, self.directory
        for submodule in submodules(reading, revision, listing, url=url, below=near):
            inside = submodule.path[len(below) :].lstrip("/")
            yield from self._nested(mirror, submodule, os.path.join(place, inside))

    def _nested(self, mirror: Mirror, submodule: Submodule, place: str) -> Iterator[Part]:
        nested = mirror.of_submodule(submodule.url)
        try:
            nested.pin(submodule.revision)
            yield from self.parts(nested, submodule.revision, place, nested)
        except GitError as error:
            raise GitError(f"submodule {place}: {error}", error.output) from None

    def _warn(self, listing: Listing, repo: str) -> None:
        links = listing.links()
        if links:
            named = some_of([path for path, _ in links])
            self.told.append(
                f"warning: submodules stay empty ({named}): set submodules: true of {repo} in "
                "repos.yml"
            )


def _listing(reading: Repository, revision: str, below: str) -> Listing:
    """The files that are meant; :class:`GitError` where ``dir`` is no directory of the commit."""
    listing = reading.listing(revision)
    if not below:
        return listing
    inside = listing.below(below)
    if not inside.text:
        odd = listing.kind_of(below)
        why = f": {odd}" if odd else ""
        raise GitError(
            f"{revision[:12]} has no directory {below}{why}; push one, or change dir in repos.yml"
        )
    return inside
