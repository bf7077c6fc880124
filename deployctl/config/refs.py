"""What git takes as the name of a branch or a tag, and which tags a pattern describes."""

from __future__ import annotations

import re

# git-check-ref-format(1), rules 1 and 3 to 8 and 10, for what stands behind refs/heads/.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//|/\.|\.lock(/|\Z)")
# What a file name may have, and so a ref on any file system.
MAX_TAG = 255


def is_branch_name(name: str) -> bool:
    """Whether ``git branch NAME`` works; a full name (``refs/…``) and HEAD are not meant."""
    return not (
        name in ("", "@", "HEAD")
        or name.startswith(("-", ".", "/", "refs/"))
        or name.endswith((".", "/"))
        or _FORBIDDEN.search(name)
    )


def is_tag_pattern(pattern: str) -> bool:
    """Whether a tag could be called like that: a name in which ``*``, ``?`` and ``[…]`` stand."""
    return is_branch_name(re.sub(r"[*?\[]", "x", pattern))


def tag_fits(ref: str, pattern: str) -> bool:
    """Whether a ref by its full name is a tag, legal by its name, that the pattern describes."""
    from fnmatch import fnmatchcase

    name = ref.removeprefix("refs/tags/")
    legal = name != ref and len(name) <= MAX_TAG and is_branch_name(name)
    return legal and fnmatchcase(name, pattern)
