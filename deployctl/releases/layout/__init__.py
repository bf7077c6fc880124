"""The layouts of a repo's files on disk, ``releases`` and ``in_place``, and their protocol.

A deployment calls ``prepare`` for a revision, ``complete`` after the stages, then ``switch``;
``restore`` goes back to what was live before, ``discard`` removes what did not become live. Every
method may be called repeatedly: after a crash the same calls finish or undo what was begun.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from deployctl.git.mirror import Mirror
from deployctl.values.deployment import Live
from deployctl.values.repo import Repo


class Layout(Protocol):
    """The methods by which a deployment changes a repo's files; one instance is for one repo.

    ``number`` is that of a deployment, ``revision`` a full sha, ``name`` that of a release's
    directory, always None in place. Paths are absolute. A message is a sentence for the log.

    Every method may raise LayoutError where files or directories are not as they must be,
    GitError where git fails, and OSError.
    """

    def check(self) -> None:
        """Raise LayoutError, with the first obstacle, where a deployment could not succeed.

        Directories that do not exist yet are made.
        """

    def obstacles(self) -> list[str]:
        """Return what :meth:`check` would raise, a sentence each, without making a directory."""

    def live(self) -> Live | None:
        """Return what is live, read from the disk; None where nothing is."""

    def release_of(self, link: str | None) -> str | None:
        """Return the name of the release that ``link``, a target of ``current``, leads to.

        None where it leads to no release, and in place.
        """

    def new_name(self, number: int, revision: str) -> str | None:
        """Return a name for a new release that no directory has yet; None in place."""

    def adopt(self) -> str | None:
        """Keep the live revision where deployctl did not deploy it, to allow a rollback to it.

        Return that revision; None where deployctl deployed it or it cannot be kept.
        """

    def prepare(self, number: int, revision: str, name: str | None) -> list[str]:
        """Write the files of a revision to where the stages run; return messages."""

    def complete(self, name: str | None, revision: str) -> None:
        """Sync a release to the disk and mark it as complete, after all stages have passed."""

    def switch(self, number: int, revision: str, name: str | None) -> list[str]:
        """Make a complete release live and sync that to the disk; return messages."""

    def restore(self, previous: Live | None) -> None:
        """Make ``previous`` live again and sync that to the disk.

        None: nothing was live before, and nothing is afterwards.
        """

    def is_whole(self, live: Live | None) -> bool:
        """Tell whether exactly this is live, and nothing of it is missing."""

    def usable(self, name: str | None, revision: str) -> bool:
        """Tell whether a release of the record can be made live without building it."""

    def discard(self, number: int, name: str | None) -> None:
        """Remove a release from the disk, if it is there; never called for the live one."""

    def strays(self, recorded: Collection[str | None]) -> list[str]:
        """Return the names of releases on disk that are neither complete, recorded nor live.

        ``recorded`` are the names in the record; nothing else would remove these releases.
        """

    def tidy(self) -> None:
        """Pack the git objects of many deployments, where there are enough to be worth it."""

    def directory(self, name: str | None) -> str:
        """Return the directory that the stages of a release run in."""

    def live_directory(self) -> str:
        """Return the directory that restart and health check run in."""


def layout_of(repo: Repo, mirror: Mirror) -> Layout:
    """Return the layout that the repo's ``strategy`` names; nothing is made on disk."""
    if repo.strategy == "in_place":
        from deployctl.releases.layout.in_place import InPlace

        return InPlace(repo, mirror)
    from deployctl.releases.layout.atomic import Releases

    return Releases(repo, mirror)
