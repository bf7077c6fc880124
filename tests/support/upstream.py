"""Make a real git repository to deploy from."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

# Repositories as small as these need no upkeep, and each of these would start processes.
_SETTINGS = """
[gc]
	auto = 0
[maintenance]
	auto = false
[receive]
	autogc = false
"""


class Upstream:
    """A bare repository, as a forge has it, and a clone in which the commits are made.

    Where the directory has a copy of an upstream, it is that one.
    """

    def __init__(self, directory: Path, branch: str = "main") -> None:
        self.bare = directory / "upstream.git"
        self.work = directory / "upstream"
        if not self.bare.exists():
            git(directory, "init", *_options(branch), "--bare", str(self.bare))
            git(directory, "init", *_options(branch), str(self.work))
            for repository in (self.bare, self.work / ".git"):
                with open(repository / "config", "a") as config:
                    config.write(_SETTINGS)
            git(self.work, "remote", "add", "origin", f"../{self.bare.name}")

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    @property
    def head(self) -> str:
        """The sha of the commit that is checked out in the clone."""
        return git(self.work, "rev-parse", "HEAD")

    def commit(self, files: Mapping[str, str | None] | None = None, message: str = "change") -> str:
        """Write these files, commit and push; return the sha.

        A file whose text is None is removed; one that begins with ``#!`` is executable.
        """
        for name, text in (files or {}).items():
            _write(self.work / name, text)
        git(self.work, "add", "--all")
        git(self.work, "commit", "-q", "--allow-empty", "-m", message)
        self.push()
        return self.head

    def branch(self, name: str) -> None:
        """Switch the clone to this branch; create it here if it does not exist."""
        exists = name in git(self.work, "branch", "--format=%(refname:short)").splitlines()
        git(self.work, "switch", "-q", *(() if exists else ("--create",)), name)

    def tag(self, name: str) -> None:
        """Make an annotated tag of the current commit and push it."""
        git(self.work, "tag", "-m", name, name)
        self.push(name)

    def rewind(self, revision: str) -> None:
        """Set the branch to an earlier commit and force-push it."""
        git(self.work, "reset", "-q", "--hard", revision)
        self.push()

    def push(self, ref: str = "HEAD") -> None:
        """Force-push a ref of the clone to the bare repository."""
        git(self.work, "push", "-q", "--force", "origin", ref)


def git(directory: Path, *words: str) -> str:
    """Run git in this directory and return its stdout; fail with its stderr."""
    done = subprocess.run(
        ["git", *words], cwd=directory, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def _options(branch: str) -> tuple[str, ...]:
    return ("-q", "--template=", f"--initial-branch={branch}")


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if text.startswith("#!") else 0o644)
