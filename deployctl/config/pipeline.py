"""The keys that define how a project is built, started and checked.

They are allowed in repos.yml and in the project's own pipeline file. A key in repos.yml replaces
the one in the project's file.
"""

from __future__ import annotations

from deployctl.config.commands import commands_or_none
from deployctl.config.complaints import Reading
from deployctl.config.healthcheck import healthcheck
from deployctl.config.json_schema_keys import keys_shape
from deployctl.config.json_schema_types import shaped
from deployctl.config.readers import Key, KeyTable, read_keys
from deployctl.config.release_paths import cache
from deployctl.config.stages import stages
from deployctl.config.yaml_tree import Node
from deployctl.values.repo import Post


@shaped(lambda: keys_shape(POST_KEYS))
def post(node: Node, reading: Reading) -> Post:
    """Read the commands that run after a deployment has ended."""
    return Post(**read_keys(node, POST_KEYS, reading))


POST_KEYS: KeyTable = {
    "success": Key(commands_or_none, "commands to run if the deployment succeeded"),
    "failure": Key(
        commands_or_none, "commands to run if it failed, was rolled back or is degraded"
    ),
    "always": Key(commands_or_none, "commands to run after these, whether it succeeded or not"),
}

PIPELINE_KEYS: KeyTable = {
    "stages": Key(stages, "what to run before the switch"),
    "restart": Key(commands_or_none, "what to run after the switch"),
    "healthcheck": Key(healthcheck, "how to check that the live version works"),
    "on_rollback": Key(commands_or_none, "what to run after going back, before the restart"),
    "cache": Key(cache, "directories that are copied from the last good release"),
    "post": Key(post, "what to run when the result of the deployment is known"),
}
