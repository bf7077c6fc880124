"""Repositories with parts: submodules, and files that git-lfs keeps."""

from __future__ import annotations

from pathlib import Path

from tests.support.upstream import Upstream, git


def library(directory: Path, name: str, files: dict[str, str] | None = None) -> Upstream:
    """Another repository, beside the one that is deployed: ``directory/name/upstream.git``."""
    (directory / name).mkdir()
    made = Upstream(directory / name)
    made.commit(files or {"lib.txt": f"{name} 1\n"})
    return made


def add_submodule(outer: Upstream, inner: Upstream, path: str, url: str | None = None) -> str:
    """Record what the inner one has, at a path of the outer one, and push -> the outer sha."""
    allowed = ("-c", "protocol.file.allow=always")
    git(outer.work, *allowed, "submodule", "--quiet", "add", "--force", inner.url, path)
    if url is not None:
        git(outer.work, "config", "-f", ".gitmodules", f"submodule.{path}.url", url)
    return outer.commit(message=f"add {path}")


def record(outer: Upstream, path: str, inner: Upstream) -> str:
    """Move a submodule on to what the inner repository has now."""
    git(outer.work / path, "fetch", "-q", "origin")
    git(outer.work / path, "checkout", "-q", inner.head)
    return outer.commit(message=f"move {path} on")


def link(outer: Upstream, path: str, sha: str, modules: str) -> str:
    """A submodule as an attacker may write one: any path, any commit, any ``.gitmodules``."""
    (outer.work / ".gitmodules").write_text(modules)
    git(outer.work, "add", ".gitmodules")
    git(outer.work, "update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")
    git(outer.work, "commit", "-q", "-m", "link")
    outer.push()
    return outer.head


def keep_in_lfs(upstream: Upstream, pattern: str, where: str = ".") -> None:
    """From the next commit on, git-lfs keeps the files of this pattern."""
    git(upstream.work, "lfs", "install", "--local")
    git(upstream.work / where, "lfs", "track", pattern)


def push_lfs(upstream: Upstream) -> None:
    """Bring to the server what git-lfs keeps in the clone."""
    git(upstream.work, "lfs", "push", "--all", "origin")
