"""The pipeline file that a project carries itself, such as ``.deployctl.yml``.

It is written by whoever may push, so it says how the project is built, started and checked, and
nothing else: what belongs to the machine (hosts, users, secrets, channels, paths) only repos.yml
may say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from deployctl.config.complaints import Reading
from deployctl.config.healthcheck import project_healthcheck
from deployctl.config.pipeline import PIPELINE_KEYS
from deployctl.config.readers import Key, read_keys
from deployctl.config.release_paths import complain_about_shared
from deployctl.config.schema import REPO_KEYS, TOP_KEYS
from deployctl.config.stages import environment
from deployctl.config.yaml_tree import Map, read_document

PROJECT_KEYS = {
    **PIPELINE_KEYS,
    "healthcheck": Key(project_healthcheck, PIPELINE_KEYS["healthcheck"].doc),
    "env": Key(environment, "environment variables of all commands, unless repos.yml sets them"),
}
# The machines and accounts that a project is deployed to are the operator's.
_OF_THE_OPERATOR = {"hosts", "inventory", "rollout", "report", "user", "users"}
_FORBIDDEN = ({*REPO_KEYS, *TOP_KEYS} | _OF_THE_OPERATOR) - PROJECT_KEYS.keys()


def parse_project(data: bytes, file: str, shared: Collection[str] = ()) -> Mapping[str, Any]:
    """The fields of a :class:`deployctl.values.repo.Pipeline` that the file says.

    ``shared`` are the paths that repos.yml shares among releases, where that matters.
    :class:`deployctl.errors.ConfigError` has every complaint, as ``FILE:LINE: path: what``.
    """
    reading = Reading(file)
    top = read_document(data, reading, key="stages", manual="deployctl docs pipeline")
    values = read_keys(_without_forbidden(top, reading), PROJECT_KEYS, reading)
    if "cache" in top.entries:
        complain_about_shared(top.entries["cache"], shared, reading)
    reading.finish()
    return values


def _without_forbidden(top: Map, reading: Reading) -> Map:
    for key in _FORBIDDEN & top.entries.keys():
        reading.complain(
            top.entries[key], "only repos.yml on the server may say this: remove it here"
        )
    kept = {key: node for key, node in top.entries.items() if key not in _FORBIDDEN}
    return Map(top.line, top.path, kept)
