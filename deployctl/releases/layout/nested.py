"""The submodules of a checkout that is deployed in place: each one is a checkout of its own.

So what stands in them and is in no commit is saved before it is overwritten, as anywhere else.
"""

from __future__ import annotations

import os

from deployctl.errors import GitError
from deployctl.git import lfs
from deployctl.git.checkout import Checkout
from deployctl.git.parts import Part, Parts


def move(outer: Checkout, parts: Parts, number: int) -> list[str]:
    """All that the commit has besides the files of ``outer``, which has been moved already -> what
    a person should know.
    """
    told = []
    for part in parts.all:
        if not part.place:
            _write_lfs_files(outer, part)
            continue
        try:
            told += _move_one(outer.path, part, number)
        except GitError as error:
            raise GitError(f"submodule {part.place}: {error}", error.output) from None
    return told


def back(outer: Checkout, revision: str) -> bool:
    """Move the submodules to what a commit records -> whether all of them had it."""
    for path, sha in outer.repository().listing(revision).links():
        inner = Checkout(os.path.join(outer.path, path))
        if not inner.exists() or not inner.has(sha):
            return False
        inner.move(sha)
        if not back(inner, sha):
            return False
    return True


def leave(outer: Checkout, revision: str) -> None:
    """Before a move: the files of submodules that the commit has not would stay for good."""
    head = outer.head()
    if head is None:
        return
    repository = outer.repository()
    stay = dict(repository.listing(revision).links())
    for path, _ in repository.listing(head).links():
        inner = Checkout(os.path.join(outer.path, path))
        if path not in stay and inner.exists() and inner.is_ours():
            inner.leave()


def told_of_saved(path: str, ref: str | None) -> list[str]:
    if ref is None:
        return []
    look = f"git -C {path} show --stat {ref}"
    return [f"{path} had changes that are in no commit: saved as {ref} ({look})"]


def _move_one(root: str, part: Part, number: int) -> list[str]:
    place = os.path.join(root, part.place)
    if os.path.realpath(place) != os.path.join(os.path.realpath(root), part.place):
        raise GitError(f"{place} is behind a symlink: remove that, then deploy again")
    settings = lfs.settings(part.mirror) if part.mirror.repo.lfs else ()
    inner = Checkout(place, settings)
    if not inner.exists():
        inner.create()
    inner.receive(part.mirror.directory, part.revision)
    saved = inner.save_changes(part.revision, number)
    inner.move(part.revision)
    _write_lfs_files(inner, part)
    return told_of_saved(place, saved)


def _write_lfs_files(checkout: Checkout, part: Part) -> None:
    if lfs.left(checkout.path, part.pointers):
        checkout.fill_pointers()
        lfs.refuse_pointers(checkout.path, part.pointers)
