"""Checks of the names of branches and tags, as git allows them, and of patterns of tags."""

from __future__ import annotations

import re

# git-check-ref-format(1), rules 1, 3 to 8 and 10, for the part of a ref after refs/heads/.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//|/\.|\.lock(/|\Z)")
# The longest name of a tag, in characters. git keeps refs in files, and NAME_MAX is 255 bytes.
MAX_TAG = 255


def is_branch_name(name: str) -> bool:
    """Tell whether git accepts ``name`` as a branch; refuse HEAD and full names (``refs/…``)."""
    return not (
        name in ("", "@", "HEAD")
        or name.startswith(("-", ".", "/", "refs/"))
        or name.endswith((".", "/"))
        or _FORBIDDEN.search(name)
    )


def is_tag_pattern(pattern: str) -> bool:
    """Tell whether a legal tag name can match ``pattern``, which may have ``*``, ``?``, ``[…]``."""
    return is_branch_name(re.sub(r"[*?\[]", "x", pattern))


def matches_tag_pattern(ref: str, pattern: str) -> bool:
    """Tell whether ``ref`` (a full name) is a tag with a legal name that matches ``pattern``."""
    from fnmatch import fnmatchcase

    name = ref.removeprefix("refs/tags/")
    legal = name != ref and len(name) <= MAX_TAG and is_branch_name(name)
    return legal and fnmatchcase(name, pattern)
