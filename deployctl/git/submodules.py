"""Submodules: where the project says that they come from, as far as that may be believed.

``.gitmodules`` is written by whoever may push, so it chooses among servers that git reaches with
https or ssh and nothing else; never a program, an option or a place to write to.
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
    """One submodule of a commit: its directory, its url, and the commit that is recorded."""

    path: str
    url: str
    revision: str


def submodules(
    repository: Repository, revision: str, listing: Listing, *, url: str, below: str | None
) -> list[Submodule]:
    """Those of the listed files; relative urls start at ``url``.

    ``below`` is a directory of this machine that they may lead into; None: into none.

    :class:`GitError` where one has no url, or one that is refused.
    """
    links = listing.links()
    urls = _urls(repository, revision) if links else {}
    return [
        Submodule(path, url_of(path, urls.get(path), url, below=below), sha) for path, sha in links
    ]


def _urls(repository: Repository, revision: str) -> dict[str, str]:
    """Urls by path, of the sections that have both."""
    sections: dict[str, dict[str, str]] = {}
    for key, value in repository.settings(revision, _FILE, r"^submodule\..*\.(path|url)$"):
        match = _KEY.fullmatch(key)
        if match:
            sections.setdefault(match[1], {})[match[2]] = value
    for name in sections:
        if ".." in name.split("/"):
            raise GitError(f"{_FILE} has a submodule called {name!r}: names with .. are refused")
    whole = (section for section in sections.values() if section.keys() == {"path", "url"})
    return {section["path"]: section["url"] for section in whole}


def url_of(path: str, said: str | None, base: str, *, below: str | None) -> str:
    """The url that git is given for what ``.gitmodules`` says of a path."""
    if said is None:
        raise GitError(
            f"submodule {path}: {_FILE} has no url for it; add one (git submodule add), or take it "
            f"out of the commit (git rm --cached {path})"
        )
    relative = said.startswith(("./", "../"))
    url = _join(base, said) if relative else said
    near = url is not None and _is_below(below, url)
    fault = "leads too far up" if url is None else fault_of_url(url, local=near)
    if url is None or fault:
        shown = re.sub(r"//[^/]*@", "//", said)
        raise GitError(f"submodule {path}: its url {shown!r} {fault}; {_ADVICE}")
    return url


def _join(base: str, relative: str) -> str | None:
    """``../lib.git`` beside ``git@host:you/blog.git`` is ``git@host:you/lib.git``, as for git."""
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


def directory_of(url: str) -> str | None:
    """Where a repository on this machine has others beside it: what else is here is not theirs."""
    path = local_path(url)
    return None if path is None else os.path.dirname(os.path.normpath(path))


def _is_below(directory: str | None, url: str) -> bool:
    path = local_path(url)
    if directory is None or path is None:
        return False
    return os.path.normpath(path).startswith(os.path.join(directory, ""))


def fault_of_url(url: str, *, local: bool) -> str | None:
    """Why git is not given a url that the project chose; None where it is."""
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
    """Of ``user@host``: ssh takes what begins with a dash for an option (CVE-2017-1000117)."""
    user, _, host = server.rpartition("@")
    if not host or host.startswith("-") or user.startswith("-"):
        return "names no server"
    return "has a password, which gets shown" if ":" in user else None
