"""Which release the caches of a new one come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployctl.layout.caches import copy, refuse_in_the_way
from deployctl.limits import gently
from deployctl.rollback import live_release
from deployctl.site import Site
from deployctl.store import releases


def bring_caches(site: Site, caches: Sequence[str], name: str | None) -> Iterator[str]:
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
        yield copy(cache, release, sources, timeout=site.repo.timeout, gently=gently(site.repo))


def _sources(site: Site, name: str) -> list[str]:
    """Good releases alone: the live one, then the newest ones. What failed may be why it did."""
    known = releases.of_repo(site.db, site.repo.name)
    live = live_release(site, known)
    names = [each.name for each in (*([live] if live else []), *known) if each.state == "good"]
    wanted = dict.fromkeys(each for each in names if each and each != name)
    return [site.layout.directory(each) for each in wanted]
