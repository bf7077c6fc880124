"""Where a repo lives on disk: ``releases`` or ``in_place``, behind the same few verbs.

A deployment asks a layout to ``prepare`` a revision, then to ``switch`` to it; ``restore`` goes
back to what was live before, ``discard`` removes what never became live. Every verb may be
repeated: after a crash the same calls finish or undo what was begun.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from deployctl.git.mirror import Mirror
from deployctl.values.deployment import Live
from deployctl.values.repo import Repo


class Layout(Protocol):
    """The verbs of a deployment; paths are absolute, names are names of releases."""

    def check(self) -> None:
        """Raise LayoutError where a deployment could not end well, before it begins."""

    def obstacles(self) -> list[str]:
        """What :meth:`check` would raise, found out without making a directory."""

    def live(self) -> Live | None:
        """What is live now, read from the disk; None where nothing is."""

    def release_of(self, link: str | None) -> str | None:
        """The release that ``current`` names when it points there; None in place."""

    def new_name(self, number: int, revision: str) -> str | None:
        """A free name for the release that deployment ``number`` builds; None in place."""

    def adopt(self) -> str | None:
        """Keep what is live but was not deployed by us -> its revision, if one can be kept."""

    def prepare(self, number: int, revision: str, name: str | None) -> list[str]:
        """Put the revision's files where the stages run -> what a person should know of it."""

    def complete(self, name: str | None, revision: str) -> None:
        """All stages have passed: the release is whole, on the disk and not just in memory."""

    def switch(self, number: int, revision: str, name: str | None) -> list[str]:
        """Make a prepared release live, at once and for good -> what a person should know."""

    def restore(self, previous: Live | None) -> None:
        """Make what was live before live again; None: nothing was, so nothing is."""

    def usable(self, name: str | None, revision: str) -> bool:
        """Whether a release of the record can be switched to without building it."""

    def discard(self, number: int, name: str | None) -> None:
        """Remove a release from the disk; never called for the live one."""

    def strays(self, recorded: Collection[str | None]) -> list[str]:
        """Releases on disk that are neither whole nor in the record: nobody would remove them."""

    def tidy(self) -> None:
        """Pack what many deployments left behind, when it is worth the time."""

    def directory(self, name: str | None) -> str:
        """Where the stages of a release run."""

    def live_directory(self) -> str:
        """Where restart and health check run."""


def layout_of(repo: Repo, mirror: Mirror) -> Layout:
    """The layout that the repo's ``strategy`` names."""
    if repo.strategy == "in_place":
        from deployctl.releases.layout.in_place import InPlace

        return InPlace(repo, mirror)
    from deployctl.releases.layout.atomic import Releases

    return Releases(repo, mirror)
