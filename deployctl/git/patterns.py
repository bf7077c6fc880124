"""Match paths against patterns in the syntax of gitignore(5), as ``watch`` has them."""

from __future__ import annotations

from collections.abc import Sequence


def any_watched(patterns: Sequence[str], paths: Sequence[str]) -> bool:
    """Tell whether at least one of the paths matches the patterns (syntax of gitignore(5)).

    If the first pattern is an exclusion (``!*.md``), every path matches but the excluded ones.
    """
    from pathspec import GitIgnoreSpec

    everything = ["*"] if patterns[0].startswith("!") else []
    spec = GitIgnoreSpec.from_lines([*everything, *patterns])
    return next(iter(spec.match_files(paths)), None) is not None
