"""The keys of a stage, and the checks of the list of stages that runs before the switch."""

from __future__ import annotations

from deployctl.config import json_schema_types
from deployctl.config.commands import command, commands
from deployctl.config.complaints import ComplaintError, Reading
from deployctl.config.json_schema_keys import exactly_one_of, keys_shape
from deployctl.config.json_schema_types import shaped
from deployctl.config.readers import (
    Key,
    KeyTable,
    boolean,
    by_field_name,
    choice,
    duration,
    line,
    list_of,
    mapping,
    mapping_of,
    one_or_more,
    read_keys,
    relative_path,
    text,
    variable_fault,
    whole_number,
)
from deployctl.config.selection import watch_pattern
from deployctl.config.yaml_tree import List, Map, Node, Scalar
from deployctl.system.command import Command
from deployctl.values.repo import Stage, When

# The stages that deployctl adds to each deployment. In status, history and logs, another stage of
# the same name could not be distinguished from them.
BUILT_IN_STAGES = (
    *("fetch", "prepare", "switch", "on_rollback", "restart", "healthcheck", "post", "probation"),
)

environment = mapping_of(text, variable_fault)
timeout = duration()


@shaped(
    json_schema_types.excluding(
        json_schema_types.LINE, {"enum": [*BUILT_IN_STAGES]}, {"pattern": "^rollback"}
    )
)
def stage_name(node: Node, reading: Reading) -> str:
    """Read the name of a stage; refuse the names of built-in stages."""
    name = line(node, reading)
    if name in BUILT_IN_STAGES or name.startswith("rollback"):
        raise ComplaintError(
            node, f"reserved ({', '.join(BUILT_IN_STAGES)}, rollback…): call it something else"
        )
    return name


@shaped(lambda: keys_shape(STAGE_KEYS, Stage, ("name",), oneOf=exactly_one_of("run", "parallel")))
def stage(node: Node, reading: Reading) -> Stage:
    """Read a stage; its commands are under ``run`` or under ``parallel``."""
    keys = mapping(node).entries
    values = read_keys(node, STAGE_KEYS, reading, required=("name",))
    if not {"run", "parallel"} & keys.keys():
        reading.complain(node, f"missing key run: {STAGE_KEYS['run'].doc}")
    elif {"run", "parallel"} <= keys.keys():
        reading.complain(keys["parallel"], "stands beside run: keep one of the two")
    parallel = values.pop("parallel", None)
    if parallel is not None:
        values |= {"run": parallel, "parallel": True}
    return Stage(**{"name": "", "steps": (), **by_field_name(values, STAGE_KEYS)})


@shaped(lambda: keys_shape(WHEN_KEYS))
def when(node: Node, reading: Reading) -> When:
    """Read the conditions for running a stage."""
    return When(**read_keys(node, WHEN_KEYS, reading))


@shaped(lambda: json_schema_types.list_of(command.shape(), minimum=2))
def parallel_commands(node: Node, reading: Reading) -> tuple[Command, ...]:
    """Read commands that run at the same time: each item of the list is one command."""
    if not isinstance(node, List) or len(node.items) < 2:
        raise ComplaintError(node, "wanted a list of at least two commands that run at once")
    return list_of(command)(node, reading)


@shaped(lambda: json_schema_types.list_of(stage.shape()))
def stages(node: Node, reading: Reading) -> tuple[Stage, ...]:
    """Read a list of stages; each name may be used once."""
    found_stages = list_of(stage)(node, reading)
    lines: dict[str, int] = {}
    for name in _stage_names(node):
        if name.text in lines:
            first = lines[name.text]
            reading.complain(name, f"a second stage with this name, first on line {first}")
        lines.setdefault(name.text, name.line)
    return found_stages


def _stage_names(node: Node) -> list[Scalar]:
    items = node.items if isinstance(node, List) else ()
    names = [item.entries.get("name") for item in items if isinstance(item, Map)]
    return [name for name in names if isinstance(name, Scalar)]


WHEN_KEYS: KeyTable = {
    "branch": Key(one_or_more(line), "branches (or tags) by name or pattern, such as release/*"),
    "paths": Key(one_or_more(watch_pattern), "paths, as in gitignore: one of them has changed"),
    "task": Key(one_or_more(choice("deploy", "rollback")), "deploy, or rollback, or both"),
}

STAGE_KEYS: KeyTable = {
    "name": Key(stage_name, "what the stage is called in status, history and logs"),
    "run": Key(commands, "the command or commands to run", "steps"),
    "timeout": Key(timeout, "how long each of its commands may take"),
    "env": Key(environment, "environment variables of this stage only"),
    "dir": Key(relative_path, "where to run, relative to the release"),
    "when": Key(when, "run it only for these branches, paths or tasks"),
    "retry": Key(whole_number(0, 10), "how often a command that failed is tried again"),
    "allow_failure": Key(boolean, "whether to go on where it fails"),
    "parallel": Key(parallel_commands, "commands that run at the same time, in place of run"),
}
