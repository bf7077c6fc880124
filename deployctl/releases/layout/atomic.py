"""The layout ``releases``: a directory per release, and the symlink ``current`` to the live one.

Every release is built in a directory of its own below ``releases/``. One ``rename(2)`` replaces
the symlink ``current`` atomically, so that it leads to one complete release at every instant. The
release's content is synced to the disk before the rename, and the rename itself after it, so that
after a power cut the old release is live or the new one, and always a whole one.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Collection, Iterator

from deployctl.config.release_paths import parent_paths
from deployctl.errors import LayoutError
from deployctl.git.complete_tree import fetch_parts, write_parts
from deployctl.git.mirror import Mirror
from deployctl.releases.layout.files import (
    is_directory,
    make_directory,
    read_line,
    remove,
    unlink,
    why_not_makeable,
    write_line,
)
from deployctl.system.durable import sync, sync_file_system
from deployctl.values.deployment import Live
from deployctl.values.repo import COMPLETE, REVISION, Repo

_NAME = re.compile(r"\d+-[0-9a-f]{12}(\.\d+)?", re.ASCII)


class Releases:
    """The layout of a repo with ``strategy: releases``."""

    def __init__(self, repo: Repo, mirror: Mirror) -> None:
        self.repo = repo
        self.mirror = mirror
        self.root = repo.path
        self.current = os.path.join(repo.path, "current")
        self.releases = os.path.join(repo.path, "releases")
        self.shared = os.path.join(repo.path, "shared")

    def check(self) -> None:
        self._make_directories()
        for obstacle in self.obstacles():
            raise LayoutError(obstacle)

    def obstacles(self) -> list[str]:
        return [
            *self._unwritable_directories(),
            *self._blocked_current(),
            *self._missing_shared_files(),
        ]

    def live(self) -> Live | None:
        try:
            link = os.readlink(self.current)
        except OSError:
            return None
        revision = read_line(os.path.join(self.root, link, REVISION))
        return Live(revision, self.release_of(link), link)

    def release_of(self, link: str | None) -> str | None:
        if link is None:
            return None
        parent, name = os.path.split(os.path.normpath(os.path.join(self.root, link)))
        return name if parent == self.releases else None

    def new_name(self, number: int, revision: str) -> str:
        """Return ``17-3f2a9c1b7d20``, or ``17-3f2a9c1b7d20.2`` and so on where that exists.

        A release from before the record was replaced may have the name, or remains of a crash.
        """
        base = f"{number}-{revision[:12]}"
        names = (base if attempt == 1 else f"{base}.{attempt}" for attempt in range(1, 1000))
        return next(name for name in names if not os.path.lexists(self.directory(name)))

    def adopt(self) -> None:
        """Keep nothing: a directory that deployctl did not build may be incomplete."""

    def prepare(self, number: int, revision: str, name: str | None) -> list[str]:
        parts = fetch_parts(self.mirror, revision)
        directory = self.directory(name)
        if not make_directory(directory):
            raise LayoutError(f"{directory} is there already: remove it, then deploy again")
        write_parts(parts, directory)
        remove(os.path.join(directory, COMPLETE))
        for shared in self.repo.shared_dirs:
            self._link_shared_dir(directory, shared)
        for shared in self.repo.shared_files:
            self._link_shared_file(directory, shared)
        write_line(os.path.join(directory, REVISION), revision)
        return list(parts.messages)

    def complete(self, name: str | None, revision: str) -> None:
        directory = self.directory(name)
        sync_file_system(directory)
        # A stage may have overwritten these files of deployctl, so they are written once more.
        markers = {REVISION: revision, COMPLETE: ""}
        for file, line in markers.items():
            write_line(os.path.join(directory, file), line)
        marker_files = [os.path.join(directory, file) for file in markers]
        for path in (*marker_files, directory, self.releases):
            sync(path)

    def switch(self, number: int, revision: str, name: str | None) -> list[str]:
        if not self.usable(name, revision):
            raise LayoutError(f"{self.directory(name)} is not a complete release of {revision}")
        self._point(os.path.join("releases", name or ""))
        return []

    def restore(self, previous: Live | None) -> None:
        remove(self._beside)
        live = self.live()
        if previous is None or previous.link is None:
            if live is not None:
                unlink(self.current)
            if os.path.isdir(self.root):
                sync(self.root)
        elif not os.path.isdir(os.path.join(self.root, previous.link)):
            directory = os.path.join(self.root, previous.link)
            raise LayoutError(f"{directory}, which was live before, is gone from the disk")
        elif live is None or live.link != previous.link:
            self._point(previous.link)
        else:
            sync(self.root)  # an earlier restore may have been killed before its sync

    def is_whole(self, live: Live | None) -> bool:
        if live is None or live.link is None:
            return not os.path.lexists(self.current)
        return self.live() == live and os.path.isdir(self.current)

    def strays(self, recorded: Collection[str | None]) -> list[str]:
        if not os.path.isdir(self.releases):
            return []
        live = self.live()
        known = {*recorded, live.release if live else None}
        return sorted(
            name
            for name in set(os.listdir(self.releases)) - known
            if _NAME.fullmatch(name)
            and not os.path.exists(os.path.join(self.directory(name), COMPLETE))
        )

    def tidy(self) -> None:
        """Do nothing: there is no git repository here to pack."""

    def usable(self, name: str | None, revision: str) -> bool:
        directory = self.directory(name)
        complete = os.path.exists(os.path.join(directory, COMPLETE))
        return complete and read_line(os.path.join(directory, REVISION)) == revision

    def discard(self, number: int, name: str | None) -> None:
        if name is None:  # it was built before the strategy was changed from in_place
            return
        directory = self.directory(name)
        try:
            remove(os.path.join(directory, COMPLETE))
            remove(directory)
        except OSError as error:
            name = os.path.basename(error.filename or directory)
            what = f"cannot remove {directory}: {error.strerror}: {name}"
            raise LayoutError(f"{what}; {_removal_advice(error)}") from error
        # After a power cut the directory could be back, and no longer be in the record.
        if os.path.isdir(self.releases):
            sync(self.releases)

    def directory(self, name: str | None) -> str:
        return os.path.join(self.releases, name or "")

    def live_directory(self) -> str:
        return self.current

    @property
    def _beside(self) -> str:
        """The path of the new symlink before it is renamed to ``current``."""
        return os.path.join(self.root, ".current.new")

    def _point(self, link: str) -> None:
        """Let ``current`` point to ``link``, atomically, and sync that to the disk."""
        remove(self._beside)
        os.symlink(link, self._beside)
        os.rename(self._beside, self.current)
        sync(self.root)

    @property
    def _directories(self) -> tuple[str, ...]:
        return (self.root, self.releases, self.shared)

    def _make_directories(self) -> None:
        for directory in self._directories:
            try:
                make_directory(directory)
            except OSError as error:
                raise LayoutError(self._cannot_create(directory, error)) from error

    def _cannot_create(self, directory: str, error: OSError) -> str:
        return (
            f"cannot create {directory}: {error.strerror}; let this account write there "
            f"(sudo install -d -o $(id -un) {self.root}), or set path of {self.repo.name}"
        )

    def _unwritable_directories(self) -> Iterator[str]:
        """Yield an obstacle for each unwritable directory, and the first that cannot be made."""
        for directory in self._directories:
            if not os.path.isdir(directory):
                error = why_not_makeable(directory)
                if error is not None:
                    yield self._cannot_create(directory, error)
                    return
            elif not os.access(directory, os.W_OK | os.X_OK):
                yield (
                    f"{directory} is not writable for this account: give it away "
                    f"(sudo chown $(id -un) {directory}), or set path of {self.repo.name}"
                )

    def _blocked_current(self) -> Iterator[str]:
        if not os.path.islink(self.current) and os.path.lexists(self.current):
            yield (
                f"{self.current} is not a symlink, so it cannot be switched: move it away "
                f"(mv {self.current} {self.current}.old), then deploy again"
            )

    def _missing_shared_files(self) -> Iterator[str]:
        for name in self.repo.shared_files:
            target = os.path.join(self.shared, name)
            if not os.path.isfile(target):
                yield (
                    f"the shared file {target} does not exist: create it (it is linked into "
                    f"every release as {name}), then deploy again"
                )

    def _link_shared_dir(self, release: str, name: str) -> None:
        """Link a shared directory into a release.

        Where it does not exist yet, the directory of that name in the commit becomes it.
        """
        target, link = os.path.join(self.shared, name), os.path.join(release, name)
        _refuse_parents_in_the_way(release, name)
        if is_directory(link) and not os.path.lexists(target):
            make_directory(os.path.dirname(target))
            shutil.move(link, target)
        try:
            make_directory(target)
        except (FileExistsError, NotADirectoryError) as error:
            raise LayoutError(
                f"{target} is not a directory: move it away, or take {name} out of shared_dirs"
            ) from error
        _link(link, target)

    def _link_shared_file(self, release: str, name: str) -> None:
        _refuse_parents_in_the_way(release, name)
        _link(os.path.join(release, name), os.path.join(self.shared, name))


def _link(link: str, target: str) -> None:
    """Make a relative symlink, so that the whole tree can be moved or mounted elsewhere."""
    remove(link)
    make_directory(os.path.dirname(link))
    os.symlink(os.path.relpath(target, os.path.dirname(link)), link)


def _removal_advice(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        advice = "remove it by hand, or share its directory"
        return f"a step or a service wrote it as another account: {advice}"
    return "it is tried again after the next deployment"


def _refuse_parents_in_the_way(release: str, name: str) -> None:
    """Raise LayoutError where a parent of a shared path is a symlink or file in the commit.

    A commit may contain ``config -> /etc``: what is written below it would not be in the release.
    """
    for parent in reversed([*parent_paths(name)]):
        path = os.path.join(release, parent)
        if os.path.lexists(path) and not is_directory(path):
            kind = "symlink" if os.path.islink(path) else "file"
            raise LayoutError(
                f"{parent} is a {kind} in the commit, so the shared {name} cannot be put "
                f"there: remove the {kind} from the repository"
            )
