"""Move the submodules of a checkout that is deployed in place: each is a checkout of its own.

So what was changed by hand in a submodule is saved before it is overwritten, as elsewhere.
"""

from __future__ import annotations

import os

from deployctl.errors import GitError
from deployctl.git import lfs
from deployctl.git.checkout import Checkout
from deployctl.git.complete_tree import Part, Parts


def move(outer: Checkout, parts: Parts, number: int) -> list[str]:
    """Write the submodules and LFS files of a commit into ``outer``; return messages for the log.

    ``outer`` has been moved to the commit already. GitError names the submodule that failed.
    """
    messages = []
    for part in parts.all:
        if not part.place:
            _write_lfs_files(outer, part)
            continue
        try:
            messages += _move_submodule(outer.path, part, number)
        except GitError as error:
            raise GitError(f"submodule {part.place}: {error}", error.output) from None
    return messages


def move_offline(outer: Checkout, revision: str) -> bool:
    """Move the submodules to the commits that ``revision`` records, where they have them already.

    Return False at the first one that has not; those before it have been moved.
    """
    for path, sha in outer.repository().listing(revision).links():
        inner = Checkout(os.path.join(outer.path, path))
        if not inner.exists() or not inner.has(sha):
            return False
        inner.move(sha)
        if not move_offline(inner, sha):
            return False
    return True


def remove_dropped(outer: Checkout, revision: str) -> None:
    """Remove the submodules that ``revision`` no longer has, before ``outer`` is moved to it.

    git would leave their files there for ever.
    """
    head = outer.head()
    if head is None:
        return
    repository = outer.repository()
    kept = dict(repository.listing(revision).links())
    for path, _ in repository.listing(head).links():
        inner = Checkout(os.path.join(outer.path, path))
        if path not in kept and inner.exists() and inner.was_deployed_before():
            inner.leave()


def saved_message(path: str, ref: str | None) -> list[str]:
    """Return the message that changes in a checkout were saved as ``ref``; none without a ref."""
    if ref is None:
        return []
    command = f"git -C {path} show --stat {ref}"
    return [f"{path} had changes that are in no commit: saved as {ref} ({command})"]


def _move_submodule(root: str, part: Part, number: int) -> list[str]:
    directory = os.path.join(root, part.place)
    if os.path.realpath(directory) != os.path.join(os.path.realpath(root), part.place):
        raise GitError(f"{directory} is behind a symlink: remove that, then deploy again")
    settings = lfs.git_arguments(part.mirror) if part.mirror.repo.lfs else ()
    inner = Checkout(directory, settings)
    if not inner.exists():
        inner.create()
    inner.receive(part.mirror.directory, part.revision)
    saved = inner.save_changes(part.revision, number)
    inner.move(part.revision)
    _write_lfs_files(inner, part)
    return saved_message(directory, saved)


def _write_lfs_files(checkout: Checkout, part: Part) -> None:
    if lfs.unreplaced_pointers(checkout.path, part.pointers):
        checkout.fill_pointers()
        lfs.refuse_pointers(checkout.path, part.pointers)
