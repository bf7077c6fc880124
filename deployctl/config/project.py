"""Reading of a project's own pipeline file, such as ``.deployctl.yml`` in its repository.

Everyone who may push can write this file, so it may only define how the project is built, started
and checked. What concerns the machine (hosts, users, secrets, channels, paths) is allowed only in
repos.yml.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from deployctl.config.complaints import Reading
from deployctl.config.healthcheck import project_healthcheck
from deployctl.config.pipeline import PIPELINE_KEYS
from deployctl.config.readers import Key, read_keys
from deployctl.config.release_paths import complain_about_shared_caches
from deployctl.config.schema import REPO_KEYS, TOP_KEYS
from deployctl.config.stages import environment
from deployctl.config.yaml_tree import Map, read_document

PROJECT_KEYS = {
    **PIPELINE_KEYS,
    "healthcheck": Key(project_healthcheck, PIPELINE_KEYS["healthcheck"].doc),
    "env": Key(environment, "environment variables of all commands, unless repos.yml sets them"),
}
# These are not keys of repos.yml, but a project may try to set them. Only the operator decides
# about hosts and accounts.
_OPERATOR_KEYS = {"hosts", "inventory", "rollout", "report", "user", "users"}
_FORBIDDEN = ({*REPO_KEYS, *TOP_KEYS} | _OPERATOR_KEYS) - PROJECT_KEYS.keys()


def parse_pipeline_file(data: bytes, file: str, shared: Collection[str] = ()) -> Mapping[str, Any]:
    """Return the fields of a :class:`deployctl.values.repo.Pipeline` that the file sets.

    ``file`` is the name of the file, for complaints. ``shared`` are the paths that all releases
    share according to repos.yml: the file's ``cache`` must not overlap them. Raises
    :class:`deployctl.errors.ConfigError` with every complaint, one a line, each as
    ``FILE:LINE: path.to.key: what is wrong``.
    """
    reading = Reading(file)
    top = read_document(data, reading, key="stages", manual="deployctl docs pipeline")
    values = read_keys(_without_forbidden(top, reading), PROJECT_KEYS, reading)
    if "cache" in top.entries:
        complain_about_shared_caches(top.entries["cache"], shared, reading)
    reading.raise_complaints()
    return values


def _without_forbidden(top: Map, reading: Reading) -> Map:
    """Complain about keys that only repos.yml may have, and return the mapping without them."""
    for key in _FORBIDDEN & top.entries.keys():
        reading.complain(
            top.entries[key], "only repos.yml on the server may say this: remove it here"
        )
    kept = {key: node for key, node in top.entries.items() if key not in _FORBIDDEN}
    return Map(top.line, top.path, kept)
