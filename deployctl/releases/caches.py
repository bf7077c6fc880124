"""Cached directories of a new release, copied from the last good one.

They are copies, never hard links and never symlinks, so that no stage changes what is live.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from deployctl.config.release_paths import parents
from deployctl.errors import LayoutError, in_words
from deployctl.releases.choose import live_release
from deployctl.releases.layout.files import is_directory, make_directory, remove
from deployctl.releases.relocate import relocate
from deployctl.releases.site import Site
from deployctl.store import releases
from deployctl.system.environment import base_environment
from deployctl.system.process import run

_FULL = {errno.ENOSPC, errno.EDQUOT}


def copy_caches(
    site: Site, caches: Sequence[str], name: str | None, prefix: Sequence[str]
) -> Iterator[str]:
    """Copy each cached directory into a new release -> what became of each, one after the other.

    In place they are there already. :class:`deployctl.errors.LayoutError` where the commit has
    something of that name, OSError on a full disk.
    """
    if name is None:
        return
    release = site.layout.directory(name)
    for cache in caches:
        refuse_in_the_way(release, cache)
    sources = _sources(site, name)
    for cache in caches:
        yield copy(cache, release, sources, timeout=site.repo.timeout, prefix=prefix)


def _sources(site: Site, name: str) -> list[str]:
    """Good releases alone: the live one, then the newest ones. What failed may be why it did."""
    known = releases.of_repo(site.db, site.repo.name)
    live = live_release(site, known)
    names = [each.name for each in (*([live] if live else []), *known) if each.state == "good"]
    wanted = dict.fromkeys(each for each in names if each and each != name)
    return [site.layout.directory(each) for each in wanted]


def refuse_in_the_way(release: str, cache: str) -> None:
    """A commit that brings a cached directory itself, or a link on the way to it."""
    for place in (cache, *parents(cache)):
        path = os.path.join(release, place)
        if os.path.islink(path) or (os.path.lexists(path) and not os.path.isdir(path)):
            kind = "symlink" if os.path.islink(path) else "file"
            raise LayoutError(
                f"{place} is a {kind} in the commit, so the cache {cache} cannot be put there: "
                f"remove the {kind} from the repository, or {cache} from cache"
            )
        if place == cache and os.path.lexists(path):
            raise LayoutError(
                f"{cache} is in the commit, so it cannot be a cache: remove it from the "
                "repository (git rm -r --cached), or from cache"
            )


def copy(
    cache: str, release: str, sources: Sequence[str], *, timeout: float, prefix: Sequence[str]
) -> str:
    """Copy it from the first of the releases that has it -> what became of that.

    A cache that cannot be copied is done without; OSError where the disk is full. ``prefix`` are
    the words in front of the command, such as those of nice(1).
    """
    source = next((each for each in sources if _has(each, cache)), None)
    if source is None:
        return f"cache {cache}: no good release has it yet"
    old, new = os.path.join(source, cache), os.path.join(release, cache)
    make_directory(os.path.dirname(new))
    try:
        why = _copy(old, new, timeout, prefix) or relocate(new, source, release)
    except OSError as error:
        if error.errno in _FULL:
            raise
        why = in_words(error)
    said = f"cache {cache}: from {os.path.basename(source)}"
    if why is None:
        return said
    remove(new)
    return f"warning: {said}: cannot be copied: {why}; building without it"


def _copy(old: str, new: str, timeout: float, prefix: Sequence[str]) -> str | None:
    """cp(1), which shares blocks where the file system can -> what it says where it fails."""
    argv = (*prefix, "cp", "-a", "--reflink=auto", "-T", "--", old, new)
    env = {**base_environment(), "LC_ALL": "C"}
    done = run(argv, env=env, timeout=timeout, cwd="/")
    if done.exit_code == 0:
        return None
    said = done.stderr.decode(errors="replace").strip()
    for number in _FULL:
        if os.strerror(number) in said:
            raise OSError(number, os.strerror(number), new)
    if done.timed_out:
        return f"not within {timeout:g}s"
    return said.splitlines()[-1] if said else f"cp ended with {done.exit_code}"


def _has(release: str, cache: str) -> bool:
    """A stage, or the program that is live, may have put a link there: it is not followed."""
    return all(is_directory(place) for place in _on_the_way(release, cache))


def _on_the_way(release: str, cache: str) -> Iterator[str]:
    return (os.path.join(release, place) for place in (*parents(cache), cache))
