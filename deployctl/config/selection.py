"""Checks of the keys that select what is deployed: ``branch``, ``tags`` and ``watch``."""

from __future__ import annotations

from deployctl.config.complaints import ComplaintError, Reading
from deployctl.config.json_schema_types import LINE, shaped
from deployctl.config.readers import line
from deployctl.config.refs import is_branch_name, is_tag_pattern
from deployctl.config.yaml_tree import Node


@shaped(LINE)
def branch(node: Node, reading: Reading) -> str:
    """Read the name of a branch, with or without ``refs/heads/``; return it without."""
    name = line(node, reading).removeprefix("refs/heads/")
    if not is_branch_name(name):
        raise ComplaintError(node, "not the name of a branch (see man git-check-ref-format)")
    return name


@shaped(LINE)
def tags(node: Node, reading: Reading) -> str:
    """Read a pattern of tags, with or without ``refs/tags/``; return it without."""
    pattern = line(node, reading).removeprefix("refs/tags/")
    if not is_tag_pattern(pattern):
        raise ComplaintError(node, "not a pattern of tags: wanted one like v*, quoted")
    return pattern


@shaped(LINE)
def watch_pattern(node: Node, reading: Reading) -> str:
    """Read one pattern as in gitignore(5); the library pathspec checks it."""
    from pathspec import GitIgnoreSpec

    pattern = line(node, reading)
    try:
        parsed = GitIgnoreSpec.from_lines([pattern]).patterns
    except ValueError:
        parsed = []
    if not any(item.include is not None for item in parsed):  # None: a comment or a blank line
        raise ComplaintError(node, "not a pattern of gitignore: wanted one like src/ or *.py")
    return pattern
