"""Read the submodules of a commit from ``.gitmodules``, and refuse urls that are not safe.

Everybody who may push can write ``.gitmodules``. So it may only name a server that git reaches with
https or ssh, or a repository beside the repo's own; never a program, an option or a path to write.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from deployctl.errors import GitError
from deployctl.git.remote import local_path
from deployctl.git.repository import Listing, Repository

_FILE = ".gitmodules"
_KEY = re.compile(r"submodule\.(.+)\.(path|url)", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)")
_SCP_LIKE = re.compile(r"([^:/]+):")
_ADVICE = "use an https or ssh url, or a relative one (../NAME.git)"


@dataclass(frozen=True)
class Submodule:
    """A submodule of a commit: its path, its url, and the commit that is recorded for it."""

    path: str
    url: str
    revision: str


def submodules(
    repository: Repository, revision: str, listing: Listing, *, url: str, local_root: str | None
) -> list[Submodule]:
    """Return the submodules among the listed files.

    Relative urls are resolved against ``url``, the url of the repository. ``local_root`` is the
    directory of this machine that their urls may point into; None: no path is allowed. Raise
    :class:`GitError` if a submodule has no url or one that is refused.
    """
    links = listing.links()
    urls = _urls(repository, revision) if links else {}
    return [
        Submodule(path, submodule_url(path, urls.get(path), url, local_root=local_root), sha)
        for path, sha in links
    ]


def _urls(repository: Repository, revision: str) -> dict[str, str]:
    """Read ``.gitmodules``: path -> url, for the sections that have both."""
    sections: dict[str, dict[str, str]] = {}
    for key, value in repository.config_values(revision, _FILE, r"^submodule\..*\.(path|url)$"):
        match = _KEY.fullmatch(key)
        if match:
            sections.setdefault(match[1], {})[match[2]] = value
    for name in sections:
        if ".." in name.split("/"):
            raise GitError(f"{_FILE} has a submodule called {name!r}: names with .. are refused")
    complete = (section for section in sections.values() if section.keys() == {"path", "url"})
    return {section["path"]: section["url"] for section in complete}


def submodule_url(path: str, configured: str | None, base: str, *, local_root: str | None) -> str:
    """Return the url to fetch a submodule from.

    ``configured`` is its url in ``.gitmodules``; None if that has none. A relative one is resolved
    against ``base``. Raise :class:`GitError` if there is no url or it is refused.
    """
    if configured is None:
        raise GitError(
            f"submodule {path}: {_FILE} has no url for it; add one (git submodule add), or take it "
            f"out of the commit (git rm --cached {path})"
        )
    is_relative = configured.startswith(("./", "../"))
    url = _join(base, configured) if is_relative else configured
    is_local = url is not None and _is_below(local_root, url)
    fault = "leads too far up" if url is None else fault_of_url(url, local=is_local)
    if url is None or fault:
        shown = re.sub(r"//[^/]*@", "//", configured)  # without user and password
        raise GitError(f"submodule {path}: its url {shown!r} {fault}; {_ADVICE}")
    return url


def _join(base: str, relative: str) -> str | None:
    """Resolve a relative url as git does; None if it leads above the root.

    ``../lib.git`` relative to ``git@host:you/blog.git`` is ``git@host:you/lib.git``.
    """
    start = _SCHEME.match(base) or _SCP_LIKE.match(base)
    server = start[0] if start else ""
    path = base[len(server) :]
    parts = [part for part in path.split("/") if part]
    for part in relative.split("/"):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    root = "/" if path.startswith("/") else ""
    return f"{server}{root}{'/'.join(parts)}"


def local_root_of(url: str) -> str | None:
    """Return the parent directory of a repository on this machine; None for a url elsewhere.

    Submodules may come from that directory, and from no other path of this machine.
    """
    path = local_path(url)
    return None if path is None else os.path.dirname(os.path.normpath(path))


def _is_below(directory: str | None, url: str) -> bool:
    path = local_path(url)
    if directory is None or path is None:
        return False
    return os.path.normpath(path).startswith(os.path.join(directory, ""))


def fault_of_url(url: str, *, local: bool) -> str | None:
    """Say why a url that comes from a commit is refused; None if it is accepted.

    ``local``: the url may be a path on this machine. The result continues a sentence that begins
    with the url.
    """
    if not url.isprintable() or " " in url or url.startswith("-"):
        return "has characters that do not belong there"
    if "::" in url.partition("/")[0]:
        return "names a transport helper, which can run commands"
    if local_path(url) is not None:
        return None if local else "is a path on this machine"
    scheme = _SCHEME.match(url)
    if scheme and scheme[1] not in ("https", "ssh"):
        return f"is neither https nor ssh, but {scheme[1]}"
    server = scheme or _SCP_LIKE.match(url)
    return _fault_of_server(server[server.re.groups]) if server else "names no server"


def _fault_of_server(server: str) -> str | None:
    """Say why ``user@host`` is refused; None if it is accepted.

    ssh takes a name that begins with a dash for an option (CVE-2017-1000117).
    """
    user, _, host = server.rpartition("@")
    if not host or host.startswith("-") or user.startswith("-"):
        return "names no server"
    return "has a password, which gets shown" if ":" in user else None
