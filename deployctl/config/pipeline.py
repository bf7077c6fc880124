"""The keys that say how a project is built, started and checked.

They stand in repos.yml, where the operator has the last word, and in the file that a project
carries itself.
"""

from __future__ import annotations

from deployctl.config.commands import commands_or_none
from deployctl.config.complaints import Reading
from deployctl.config.healthcheck import healthcheck
from deployctl.config.key_shapes import keys_shape
from deployctl.config.readers import Key, Table, read_keys
from deployctl.config.release_paths import cache
from deployctl.config.shapes import shaped
from deployctl.config.stages import stages
from deployctl.config.yaml_tree import Node
from deployctl.values.repo import Post


@shaped(lambda: keys_shape(POST_KEYS))
def post(node: Node, reading: Reading) -> Post:
    return Post(**read_keys(node, POST_KEYS, reading))


POST_KEYS: Table = {
    "success": Key(commands_or_none, "commands to run where it succeeded"),
    "failure": Key(commands_or_none, "commands to run where it did not"),
    "always": Key(commands_or_none, "commands to run after these, however it ended"),
}

PIPELINE_KEYS: Table = {
    "stages": Key(stages, "what to run before the switch"),
    "restart": Key(commands_or_none, "what to run after the switch"),
    "healthcheck": Key(healthcheck, "how to tell that what is live works"),
    "on_rollback": Key(commands_or_none, "what to run after going back, before the restart"),
    "cache": Key(cache, "directories that a release gets from the last good one"),
    "post": Key(post, "what to run when it is known how it ended"),
}
