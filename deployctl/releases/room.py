"""Room for one more release: looked for before it is built, at the price of two system calls."""

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
    """What is wrong in a sentence, and what a person does about it."""

    what: str
    advice: str


def require_room(site: Site, lines: Lines) -> None:
    """LayoutError where a release might not fit, after all that may go has gone."""
    if _shortage(site) is None:
        return
    lines.line("there is little room: removing what is not needed any more")
    prune(site, lines)
    short = _shortage(site)
    if short is not None:
        raise LayoutError(f"{short.what}: {short.advice}")


def _shortage(site: Site) -> Shortage | None:
    return shortage(site.config, site.repo, releases.newest_size(site.db, site.repo.name))


def shortage(config: Config, repo: Repo, last: int | None) -> Shortage | None:
    """Where too little is free: for a release, ``last`` being the size of the one before, and for
    the record, the logs and the mirrors.
    """
    twice = 2 * last if last is not None and repo.strategy == "releases" else 0
    if not repo.min_free:
        return None
    if twice > repo.min_free:
        why = f"twice its last release, {in_bytes(twice // 2)}"
        wanted, way_out = twice, f"set min_free of {repo.name} to 0"
    else:
        wanted, why, way_out = repo.min_free, "min_free", f"lower min_free of {repo.name}"
    for path, least, reason in (
        (repo.path, wanted, why),
        (config.state_dir, repo.min_free, "min_free"),
    ):
        place, free = free_bytes(path)
        if free < least:
            what = f"only {in_bytes(free)} free for {path}, and {repo.name} wants {in_bytes(least)}"
            advice = f"free some (df -h {shlex.quote(place)}), or {way_out} in repos.yml"
            return Shortage(f"{what} ({reason})", advice)
    return None


def free_bytes(path: str) -> tuple[str, int]:
    """The directory that is there already on the way to a path, and the bytes free for it."""
    place = path
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    status = os.statvfs(place)
    return place, status.f_bavail * status.f_frsize


def record_sizes(site: Site, lines: Lines) -> None:
    """Measure what was built since; in place there is nothing to measure."""
    for release in releases.of_repo(site.db, site.repo.name):
        if release.name is None or release.size is not None or release.state == "building":
            continue
        try:
            size = disk_usage(site.layout.directory(release.name))
            releases.set_size(site.db, site.repo.name, release.number, size)
        except (DeployctlError, OSError) as error:
            lines.line(f"warning: {in_words(error)}")
