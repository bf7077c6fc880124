"""Make repositories with submodules, and with files in git-lfs."""

from __future__ import annotations

from pathlib import Path

from tests.support.upstream import Upstream, git


def library(directory: Path, name: str, files: dict[str, str] | None = None) -> Upstream:
    """Make another repository with one commit: ``directory/name/upstream.git``."""
    (directory / name).mkdir()
    made = Upstream(directory / name)
    made.commit(files or {"lib.txt": f"{name} 1\n"})
    return made


def add_submodule(outer: Upstream, inner: Upstream, path: str, url: str | None = None) -> str:
    """Add the inner repository as a submodule, commit and push; return the outer sha.

    ``url`` is written to .gitmodules (None: the inner repository's own).
    """
    allow_file = ("-c", "protocol.file.allow=always")
    git(outer.work, *allow_file, "submodule", "--quiet", "add", "--force", inner.url, path)
    if url is not None:
        git(outer.work, "config", "-f", ".gitmodules", f"submodule.{path}.url", url)
    return outer.commit(message=f"add {path}")


def update_submodule(outer: Upstream, path: str, inner: Upstream) -> str:
    """Set a submodule to the newest inner commit, commit and push; return the outer sha."""
    git(outer.work / path, "fetch", "-q", "origin")
    git(outer.work / path, "checkout", "-q", inner.head)
    return outer.commit(message=f"move {path} on")


def write_submodule_entry(outer: Upstream, path: str, sha: str, modules: str) -> str:
    """Commit and push a submodule as an attacker may write it; return the outer sha.

    Path, commit and the text of ``.gitmodules`` may be anything.
    """
    (outer.work / ".gitmodules").write_text(modules)
    git(outer.work, "add", ".gitmodules")
    git(outer.work, "update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")
    git(outer.work, "commit", "-q", "-m", "link")
    outer.push()
    return outer.head


def keep_in_lfs(upstream: Upstream, pattern: str, directory: str = ".") -> None:
    """Let git-lfs keep the files of this pattern from the next commit on."""
    git(upstream.work, "lfs", "install", "--local")
    git(upstream.work / directory, "lfs", "track", pattern)


def push_lfs(upstream: Upstream) -> None:
    """Push the files that git-lfs keeps in the clone to the server."""
    git(upstream.work, "lfs", "push", "--all", "origin")
