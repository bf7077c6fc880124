"""The layout ``in_place``: one checkout, moved from commit to commit; untracked files stay."""

from __future__ import annotations

import os
from collections.abc import Collection

from deployctl.errors import LayoutError
from deployctl.git import lfs
from deployctl.git.checkout import Checkout
from deployctl.git.complete_tree import Parts, fetch_parts
from deployctl.git.mirror import Mirror
from deployctl.releases.layout import nested
from deployctl.system.durable import sync_file_system
from deployctl.values.deployment import Live
from deployctl.values.repo import Repo


class InPlace:
    """The layout of a repo with ``strategy: in_place``.

    ``path`` is the checkout, and the commit that its HEAD points to is live.
    """

    def __init__(self, repo: Repo, mirror: Mirror) -> None:
        self.repo = repo
        self.mirror = mirror
        self.checkout = Checkout(repo.path, lfs.git_arguments(mirror) if repo.lfs else ())

    def check(self) -> None:
        for obstacle in self.obstacles():
            raise LayoutError(obstacle)

    def obstacles(self) -> list[str]:
        path, name = self.repo.path, self.repo.name
        if os.path.islink(os.path.join(path, "current")) and not self.checkout.exists():
            return [f"{path} holds releases: set strategy: releases of {name}, or another path"]
        if os.path.lexists(path) and not os.path.isdir(path):
            return [f"{path} is not a directory: move it away, or set path of {name}"]
        parent = path if os.path.isdir(path) else os.path.dirname(path)
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        if not os.access(parent, os.W_OK | os.X_OK):
            chown = f"sudo chown -R $(id -un) {path}"
            problem = f"{parent} is not writable for this account"
            return [f"{problem}: give it away ({chown}), or set path of {name}"]
        return []

    def live(self) -> Live | None:
        head = self.checkout.head()
        return Live(head, None) if head else None

    def release_of(self, link: str | None) -> None:
        return None

    def new_name(self, number: int, revision: str) -> None:
        return None

    def adopt(self) -> str | None:
        head = self.checkout.head()
        if head is None or self.checkout.was_deployed_before():
            return None
        self.checkout.remove_stale_locks()
        self.checkout.keep(0, head)
        return head

    def prepare(self, number: int, revision: str, name: str | None) -> list[str]:
        parts = fetch_parts(self.mirror, revision)
        if not self.checkout.exists():
            self.checkout.create()
        self.checkout.receive(self.mirror.directory, revision)
        messages = self._move(number, revision, parts)
        self.checkout.keep(number, revision)
        return [*parts.messages, *messages]

    def complete(self, name: str | None, revision: str) -> None:
        """Do nothing: no mark is needed, and :meth:`switch` syncs the checkout."""

    def switch(self, number: int, revision: str, name: str | None) -> list[str]:
        """Check a revision out and sync that to the disk; return messages.

        Where :meth:`prepare` has checked it out already, what the stages changed stays.
        """
        messages = []
        if self.checkout.head() != revision:
            messages = self._move(number, revision, self._parts(revision))
        self._sync()
        return messages

    def restore(self, previous: Live | None) -> None:
        if previous is None:
            if self.checkout.exists():
                self.checkout.clear()
                self._sync()
        elif previous.revision:
            self._go_back(previous.revision)
            self._sync()

    def is_whole(self, live: Live | None) -> bool:
        if live is None or live.revision is None:
            return self.checkout.head() is None
        return self.checkout.head() == live.revision and not self.checkout.is_changed()

    def usable(self, name: str | None, revision: str) -> bool:
        return self.checkout.exists() and self.checkout.has(revision)

    def discard(self, number: int, name: str | None) -> None:
        if self.checkout.exists():
            self.checkout.drop(number)

    def strays(self, recorded: Collection[str | None]) -> list[str]:
        return []

    def tidy(self) -> None:
        if self.checkout.exists():
            self.checkout.tidy()

    def directory(self, name: str | None) -> str:
        return self.repo.path

    def live_directory(self) -> str:
        return self.repo.path

    def _sync(self) -> None:
        """Sync the checkout and its git directory to the disk.

        git compares a file with what its index says of it and would never notice a file that a
        power cut has emptied.
        """
        for place in self.checkout.directories():
            sync_file_system(place)

    def _go_back(self, revision: str) -> None:
        """Check a commit out that was live before, with its submodules and LFS files.

        An LFS file that is missing in the outer checkout is no error: the commit may never have
        been deployed whole, or it was deployed before ``submodules`` and ``lfs`` were set.
        """
        settings = lfs.git_arguments(self.mirror, required=False) if self.repo.lfs else ()
        checkout = Checkout(self.repo.path, settings)
        if self.repo.submodules:
            nested.remove_dropped(checkout, revision)
        checkout.move(revision)
        if self.repo.submodules and (self.repo.lfs or not nested.move_offline(checkout, revision)):
            nested.move(checkout, self._parts(revision), number=0)

    def _parts(self, revision: str) -> Parts:
        """Return the parts of a commit that was live once.

        It is read from the checkout: the mirror may not have it where it was adopted.
        """
        if not (self.repo.submodules or self.repo.lfs):
            return Parts((), ())
        return fetch_parts(self.mirror, revision, self.checkout.repository())

    def _move(self, number: int, revision: str, parts: Parts) -> list[str]:
        """Save what was changed by hand, then check a revision out; return messages."""
        saved = self.checkout.save_changes(revision, number)
        if self.repo.submodules:
            nested.remove_dropped(self.checkout, revision)
        self.checkout.move(revision)
        messages = nested.move(self.checkout, parts, number)
        return [*nested.saved_message(self.checkout.path, saved), *messages]
