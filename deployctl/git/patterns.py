"""Patterns of paths, as gitignore(5) has them."""

from __future__ import annotations

from collections.abc import Sequence


def any_watched(patterns: Sequence[str], paths: Sequence[str]) -> bool:
    """Whether one of the paths is meant by the patterns, as gitignore(5) has them.

    Where the first pattern takes something out, it is taken out of everything.
    """
    from pathspec import GitIgnoreSpec

    everything = ["*"] if patterns[0].startswith("!") else []
    spec = GitIgnoreSpec.from_lines([*everything, *patterns])
    return next(iter(spec.match_files(paths)), None) is not None
