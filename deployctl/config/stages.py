"""The stages of a pipeline: what runs before the switch, and the keys of one stage."""

from __future__ import annotations

from deployctl.config.commands import commands
from deployctl.config.document import List, Map, Node, Scalar
from deployctl.config.readers import (
    Key,
    duration,
    fields,
    inside,
    line,
    list_of,
    mapping_of,
    read_keys,
    text,
    variable_fault,
)
from deployctl.config.reading import ComplaintError, Reading
from deployctl.repo import Stage

# The phases that deployctl itself adds to a deployment; a stage with such a name would hide one.
BUILT_IN_STAGES = ("fetch", "prepare", "switch", "restart", "healthcheck")

environment = mapping_of(text, variable_fault)
timeout = duration()


def stage_name(node: Node, reading: Reading) -> str:
    name = line(node, reading)
    if name in BUILT_IN_STAGES or name.startswith("rollback"):
        raise ComplaintError(
            node, f"reserved ({', '.join(BUILT_IN_STAGES)}, rollback…): call it something else"
        )
    return name


def stage(node: Node, reading: Reading) -> Stage:
    values = read_keys(node, STAGE_KEYS, reading, required=("name", "run"))
    return Stage(**{"name": "", "steps": (), **fields(values, STAGE_KEYS)})


def stages(node: Node, reading: Reading) -> tuple[Stage, ...]:
    found = list_of(stage)(node, reading)
    lines: dict[str, int] = {}
    for name in _stage_names(node):
        if name.text in lines:
            first = lines[name.text]
            reading.complain(name, f"a second stage with this name, first on line {first}")
        lines.setdefault(name.text, name.line)
    return found


def _stage_names(node: Node) -> list[Scalar]:
    items = node.items if isinstance(node, List) else ()
    names = [item.entries.get("name") for item in items if isinstance(item, Map)]
    return [name for name in names if isinstance(name, Scalar)]


STAGE_KEYS = {
    "name": Key(stage_name, "what the stage is called in status, history and logs"),
    "run": Key(commands, "the command or commands to run", "steps"),
    "timeout": Key(timeout, "how long each of its commands may take"),
    "env": Key(environment, "environment variables of this stage only"),
    "dir": Key(inside, "where to run, relative to the release"),
}
