"""One file of a commit, read without checking it out."""

from __future__ import annotations

from deployctl.errors import ConfigError
from deployctl.git.command import git
from deployctl.git.repository import KINDS


def read_blob(directory: str, revision: str, path: str, limit: int) -> bytes | None:
    """The bytes of a regular file of at most ``limit`` bytes; None where the commit has none.

    :class:`ConfigError` where something else has that name, or where it is larger.
    """
    what = f"cannot read {path} of {revision}"
    listed = git([f"--git-dir={directory}", "ls-tree", "-l", "-z", revision, "--", path], what=what)
    if not listed:
        return None
    mode, _, name, size = listed.partition("\t")[0].split()
    place = f"{path} in {revision[:12]}"
    if mode in KINDS:
        raise ConfigError(f"{place} is {KINDS[mode]}: commit a file there")
    if int(size) > limit:
        raise ConfigError(f"{place} is larger than {limit // 1024} KiB: make it shorter")
    content = git([f"--git-dir={directory}", "cat-file", "blob", name], what=what)
    return content.encode("utf-8", "surrogateescape")
