"""Check, before a release is built, that the disk has room for it; measure built releases.

The check costs two system calls.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from deployctl.errors import DeployctlError, LayoutError, in_words
from deployctl.releases.layout.files import disk_usage
from deployctl.releases.prune import prune
from deployctl.releases.site import Site
from deployctl.store import releases
from deployctl.values.repo import Config, Repo
from deployctl.values.text import Lines, in_bytes


@dataclass(frozen=True)
class Shortage:
    """The lack of room on a disk: a sentence about it, and what a person can do about it."""

    what: str
    advice: str


def require_room(site: Site, lines: Lines) -> None:
    """Raise LayoutError where one more release might not fit, even after pruning."""
    if _shortage(site) is None:
        return
    lines.line("there is little room: removing what is not needed any more")
    prune(site, lines)
    lack = _shortage(site)
    if lack is not None:
        raise LayoutError(f"{lack.what}: {lack.advice}")


def _shortage(site: Site) -> Shortage | None:
    return shortage(site.config, site.repo, releases.newest_size(site.db, site.repo.name))


def shortage(config: Config, repo: Repo, last_size: int | None) -> Shortage | None:
    """Return the lack of room for one more release, or for the state directory; None: no lack.

    ``last_size`` is the size of the last release in bytes, None where it is not known. A release
    needs ``min_free`` and twice that size, whichever is more; the state directory, with the record,
    the logs and the mirrors, needs ``min_free``. Where ``min_free`` is 0, nothing is checked.
    """
    twice = 2 * last_size if last_size is not None and repo.strategy == "releases" else 0
    if not repo.min_free:
        return None
    if twice > repo.min_free:
        why = f"twice its last release, {in_bytes(twice // 2)}"
        needed, remedy = twice, f"set min_free of {repo.name} to 0"
    else:
        needed, why, remedy = repo.min_free, "min_free", f"lower min_free of {repo.name}"
    for path, minimum, reason in (
        (repo.path, needed, why),
        (config.state_dir, repo.min_free, "min_free"),
    ):
        directory, free = free_bytes(path)
        if free < minimum:
            only = f"only {in_bytes(free)} free for {path}"
            what = f"{only}, and {repo.name} wants {in_bytes(minimum)} ({reason})"
            advice = f"free some (df -h {shlex.quote(directory)}), or {remedy} in repos.yml"
            return Shortage(what, advice)
    return None


def free_bytes(path: str) -> tuple[str, int]:
    """Return the nearest existing directory of an absolute path, and the bytes free there.

    These are the bytes that an account other than root can use.
    """
    directory = path
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    status = os.statvfs(directory)
    return directory, status.f_bavail * status.f_frsize


def record_sizes(site: Site, lines: Lines) -> None:
    """Measure the built releases whose size is not recorded yet, and record it in bytes.

    In place there is nothing to measure. What cannot be measured is a warning in ``lines``.
    """
    for release in releases.of_repo(site.db, site.repo.name):
        if release.name is None or release.size is not None or release.state == "building":
            continue
        try:
            size = disk_usage(site.layout.directory(release.name))
            releases.set_size(site.db, site.repo.name, release.number, size)
        except (DeployctlError, OSError) as error:
            lines.line(f"warning: {in_words(error)}")
