"""What of a repository is deployed: its branch or tags, and the paths that matter."""

from __future__ import annotations

from deployctl.config.complaints import ComplaintError, Reading
from deployctl.config.readers import line
from deployctl.config.refs import is_branch_name, is_tag_pattern
from deployctl.config.shapes import LINE, shaped
from deployctl.config.yaml_tree import Node


@shaped(LINE)
def branch(node: Node, reading: Reading) -> str:
    name = line(node, reading).removeprefix("refs/heads/")
    if not is_branch_name(name):
        raise ComplaintError(node, "not the name of a branch (see man git-check-ref-format)")
    return name


@shaped(LINE)
def tags(node: Node, reading: Reading) -> str:
    pattern = line(node, reading).removeprefix("refs/tags/")
    if not is_tag_pattern(pattern):
        raise ComplaintError(node, "not a pattern of tags: wanted one like v*, quoted")
    return pattern


@shaped(LINE)
def watch_pattern(node: Node, reading: Reading) -> str:
    """One line of gitignore(5); the library that knows those says whether it is one."""
    from pathspec import GitIgnoreSpec

    pattern = line(node, reading)
    try:
        lines = GitIgnoreSpec.from_lines([pattern]).patterns
    except ValueError:
        lines = []
    if not any(each.include is not None for each in lines):
        raise ComplaintError(node, "not a pattern of gitignore: wanted one like src/ or *.py")
    return pattern
