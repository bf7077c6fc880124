"""repos.yml -> :class:`deployctl.values.repo.Config`, or every complaint at once."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from deployctl.config.complaints import Reading
from deployctl.config.conflicts import complain_about_conflicts
from deployctl.config.deployers import BUILT_IN, Deployer
from deployctl.config.locate import default_state_dir, read_config
from deployctl.config.pipeline import PIPELINE_KEYS
from deployctl.config.readers import fields, read_keys
from deployctl.config.schema import REPO_KEYS, TOP_KEYS, Entry
from deployctl.config.yaml_tree import Map, read_document
from deployctl.values.repo import OWN, Config, Pipeline, Repo

# Sections whose own absence, or a fault in them, must not make every repo's mention of it wrong.
_NAMING_SECTIONS = {"channels": (), "deployers": tuple(BUILT_IN)}


def load(path: str) -> Config:
    """Read and check the file.

    :class:`deployctl.errors.ConfigError` has all complaints, one a line, each as
    ``FILE:LINE: path.to.key: what is wrong``.
    """
    return parse(read_config(path), path)


def parse(data: bytes, path: str) -> Config:
    """As :func:`load`, for bytes that were read from ``path`` already."""
    reading = Reading(os.path.abspath(path))
    top = read_document(data, reading)
    reading.names = {
        section: _names(top, section, known) for section, known in _NAMING_SECTIONS.items()
    }
    values = read_keys(top, TOP_KEYS, reading, required=("repos",))
    defaults = values.pop("defaults", Entry(Map(top.line, "", {}), {}))
    repos = {name: own.over(defaults) for name, own in values.get("repos", {}).items()}
    complain_about_conflicts(repos, reading)
    reading.finish()
    return _config(reading.file, values, repos)


def _names(top: Map, section: str, known: tuple[str, ...]) -> tuple[str, ...] | None:
    """What may be mentioned; None where the section is no mapping, which is complaint enough."""
    node = top.entries.get(section, Map(top.line, section, {}))
    return (*known, *node.entries) if isinstance(node, Map) else None


def _config(path: str, values: dict[str, Any], repos: dict[str, Entry]) -> Config:
    deployers = {**BUILT_IN, **values.pop("deployers", {})}
    channels = values.pop("channels", {})
    return Config(
        **{
            "state_dir": values.get("state_dir") or default_state_dir(),
            **values,
            "path": path,
            "repos": {name: _repo(name, one, deployers) for name, one in repos.items()},
            "channels": {
                name: dataclasses.replace(channel, name=name) for name, channel in channels.items()
            },
        }
    )


def _repo(name: str, entry: Entry, deployers: dict[str, Deployer]) -> Repo:
    """The repo's own keys come before those of its deployer."""
    by = entry.values.get("deployer", "none")
    brought = {key: value for key, value in vars(deployers[by]).items() if value}
    said = {key: entry.values[key] for key in PIPELINE_KEYS if key in entry.values}
    pipeline = Pipeline().over(brought, f"deployer {by}").over(said, OWN)
    others = {key: value for key, value in entry.values.items() if key not in said}
    return Repo(**{"name": name, "pipeline": pipeline, **fields(others, REPO_KEYS)})
