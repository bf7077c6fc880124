"""Copy the cached directories (``cache``) of the last good release into a new one.

They are copies, never hard links and never symlinks, so that no stage can change what is live.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from deployctl.config.release_paths import parent_paths
from deployctl.errors import LayoutError, in_words
from deployctl.releases.choose import live_release
from deployctl.releases.layout.files import is_directory, make_directory, remove
from deployctl.releases.relocate import relocate
from deployctl.releases.site import Site
from deployctl.store import releases
from deployctl.system.environment import base_environment
from deployctl.system.process import run

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def copy_caches(
    site: Site, caches: Sequence[str], name: str | None, prefix: Sequence[str]
) -> Iterator[str]:
    """Copy each cached directory into the release ``name``; yield a message after each one.

    ``caches`` are paths relative to the release; ``prefix`` are the words before the command, such
    as those of nice(1). Nothing is done in place, where ``name`` is None and the directories have
    stayed. :class:`deployctl.errors.LayoutError` where the commit has something of that name,
    OSError on a full disk.
    """
    if name is None:
        return
    release = site.layout.directory(name)
    for cache in caches:
        refuse_tracked(release, cache)
    sources = _sources(site, name)
    for cache in caches:
        yield copy(cache, release, sources, timeout=site.repo.timeout, prefix=prefix)


def _sources(site: Site, name: str) -> list[str]:
    """Return the directories of the good releases: of the live one, then from the newest on.

    A failed release comes last, and only if it is live: its caches may be the reason that it
    failed. All of its stages have passed.
    """
    known = releases.of_repo(site.db, site.repo.name)
    live = live_release(site, known)
    is_live = [live] if live else []
    good = [release for release in (*is_live, *known) if release.state == "good"]
    names = [release.name for release in (*good, *is_live)]
    others = dict.fromkeys(other for other in names if other and other != name)
    return [site.layout.directory(other) for other in others]


def refuse_tracked(release: str, cache: str) -> None:
    """Raise LayoutError where the commit has the cached directory itself.

    The same where a parent of it is a file or a symlink in the commit.
    """
    for relative in (cache, *parent_paths(cache)):
        path = os.path.join(release, relative)
        if os.path.islink(path) or (os.path.lexists(path) and not os.path.isdir(path)):
            kind = "symlink" if os.path.islink(path) else "file"
            raise LayoutError(
                f"{relative} is a {kind} in the commit, so the cache {cache} cannot be put there: "
                f"remove the {kind} from the repository, or {cache} from cache"
            )
        if relative == cache and os.path.lexists(path):
            raise LayoutError(
                f"{cache} is in the commit, so it cannot be a cache: remove it from the "
                "repository (git rm -r --cached), or from cache"
            )


def copy(
    cache: str, release: str, sources: Sequence[str], *, timeout: float, prefix: Sequence[str]
) -> str:
    """Copy a cached directory from the first of the sources that has it; return a message.

    ``release`` and ``sources`` are directories of releases, ``timeout`` is in seconds. Where it
    cannot be copied, the message is a warning and the release has no such directory; OSError where
    the disk is full. ``prefix`` are the words before the command, such as those of nice(1).
    """
    source = next((directory for directory in sources if _has(directory, cache)), None)
    if source is None:
        return f"cache {cache}: no good release has it yet"
    old, new = os.path.join(source, cache), os.path.join(release, cache)
    make_directory(os.path.dirname(new))
    try:
        fault = _run_cp(old, new, timeout, prefix) or relocate(new, source, release)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise
        fault = in_words(error)
    message = f"cache {cache}: from {os.path.basename(source)}"
    if fault is None:
        return message
    remove(new)
    return f"warning: {message}: cannot be copied: {fault}; building without it"


def _run_cp(old: str, new: str, timeout: float, prefix: Sequence[str]) -> str | None:
    """Copy with cp(1), which shares blocks where the file system can; return its error or None.

    OSError where the disk is full.
    """
    argv = (*prefix, "cp", "-a", "--reflink=auto", "-T", "--", old, new)
    env = {**base_environment(), "LC_ALL": "C"}
    completed = run(argv, env=env, timeout=timeout, cwd="/")
    if completed.exit_code == 0:
        return None
    stderr = completed.stderr.decode(errors="replace").strip()
    for number in _DISK_FULL:
        if os.strerror(number) in stderr:
            raise OSError(number, os.strerror(number), new)
    if completed.timed_out:
        return f"not within {timeout:g}s"
    return stderr.splitlines()[-1] if stderr else f"cp ended with {completed.exit_code}"


def _has(release: str, cache: str) -> bool:
    """Tell whether a release has a cached directory, without following a symlink.

    A stage, or the application that is live, may have put a symlink there.
    """
    return all(is_directory(os.path.join(release, path)) for path in (*parent_paths(cache), cache))
