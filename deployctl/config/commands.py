"""Reading of commands: a string is a script for /bin/sh -eu, a list of words is argv."""

from __future__ import annotations

from deployctl.config.complaints import ComplaintError, Reading
from deployctl.config.json_schema_types import COMMAND, COMMANDS, COMMANDS_OR_NONE, shaped
from deployctl.config.readers import list_of, text
from deployctl.config.yaml_tree import List, Node, Scalar
from deployctl.system.command import Command


@shaped(COMMAND)
def command(node: Node, reading: Reading) -> Command:
    """Read one command."""
    if isinstance(node, List):
        return _argv(node, reading)
    if not isinstance(node, Scalar):
        raise ComplaintError(
            node, f"wanted a command (a line of shell, or a list of words), found {node.kind}"
        )
    if node.kind == "nothing" or not node.text.strip():
        raise ComplaintError(node, "a blank command: write one, or remove the key")
    return node.text


@shaped(COMMANDS)
def commands(node: Node, reading: Reading) -> tuple[Command, ...]:
    """Read one command, or a list of at least one command.

    The items of a list are commands if one of them is a list itself, or if the first one contains
    white space. Otherwise they are the words of one command: ``[npm, ci]``.
    """
    if isinstance(node, List) and _holds_commands(node):
        return list_of(command)(node, reading)
    return (command(node, reading),)


@shaped(COMMANDS_OR_NONE)
def commands_or_none(node: Node, reading: Reading) -> tuple[Command, ...]:
    """Read the same as :func:`commands`, or an empty list.

    With an empty list, a repo can drop the commands of its deployer or of the defaults.
    """
    if isinstance(node, List) and not node.items:
        return ()
    return commands(node, reading)


def _holds_commands(node: List) -> bool:
    first = node.items[0] if node.items else None
    return any(isinstance(item, List) for item in node.items) or (
        isinstance(first, Scalar) and any(character.isspace() for character in first.text)
    )


def _argv(node: List, reading: Reading) -> tuple[str, ...]:
    if not node.items:
        raise ComplaintError(node, "an empty list: write a command, or remove the key")
    words = list_of(text)(node, reading)
    if words and not words[0]:
        raise ComplaintError(node, "the first word is empty: write the program's name")
    return words
