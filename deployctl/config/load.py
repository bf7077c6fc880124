"""Loading of repos.yml into a :class:`deployctl.values.repo.Config`."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from deployctl.config.complaints import Reading
from deployctl.config.conflicts import complain_about_conflicts
from deployctl.config.deployers import BUILT_IN, Deployer
from deployctl.config.locate import default_state_dir, read_config
from deployctl.config.pipeline import PIPELINE_KEYS
from deployctl.config.readers import by_field_name, read_keys
from deployctl.config.schema import REPO_KEYS, TOP_KEYS, RepoEntry
from deployctl.config.yaml_tree import Map, read_document
from deployctl.values.repo import OPERATOR_FILE, Config, Pipeline, Repo

# Sections that define names which repos use, each with the names that are built in.
_SECTIONS_WITH_NAMES = {"channels": (), "deployers": tuple(BUILT_IN)}


def load(path: str) -> Config:
    """Return the checked contents of the repos.yml at ``path``.

    Raises :class:`deployctl.errors.ConfigError` if anything is wrong. Its message has all
    complaints, one a line, each as ``FILE:LINE: path.to.key: what is wrong``.
    """
    return parse(read_config(path), path)


def parse(data: bytes, path: str) -> Config:
    """Do the same as :func:`load` with ``data``, the bytes that were already read from ``path``."""
    reading = Reading(os.path.abspath(path))
    top = read_document(data, reading)
    reading.names = {
        section: _defined_names(top, section, built_in)
        for section, built_in in _SECTIONS_WITH_NAMES.items()
    }
    values = read_keys(top, TOP_KEYS, reading, required=("repos",))
    defaults = values.pop("defaults", RepoEntry(Map(top.line, "", {}), {}))
    repos = {name: entry.with_defaults(defaults) for name, entry in values.get("repos", {}).items()}
    complain_about_conflicts(repos, reading)
    reading.raise_complaints()
    return _config(reading.file, values, repos)


def _defined_names(top: Map, section: str, built_in: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the names that the section defines, and those that are built in.

    Returns None if the section is not a mapping. That is one complaint already: repos that use one
    of its names get no complaint of their own.
    """
    node = top.entries.get(section, Map(top.line, section, {}))
    return (*built_in, *node.entries) if isinstance(node, Map) else None


def _config(path: str, values: dict[str, Any], repos: dict[str, RepoEntry]) -> Config:
    deployers = {**BUILT_IN, **values.pop("deployers", {})}
    channels = values.pop("channels", {})
    return Config(
        **{
            "state_dir": values.get("state_dir") or default_state_dir(),
            **values,
            "path": path,
            "repos": {name: _repo(name, entry, deployers) for name, entry in repos.items()},
            "channels": {
                name: dataclasses.replace(channel, name=name) for name, channel in channels.items()
            },
        }
    )


def _repo(name: str, entry: RepoEntry, deployers: dict[str, Deployer]) -> Repo:
    """Return the repo; its own pipeline keys replace those of its deployer."""
    deployer = entry.values.get("deployer", "none")
    of_deployer = {key: value for key, value in vars(deployers[deployer]).items() if value}
    of_repo = {key: entry.values[key] for key in PIPELINE_KEYS if key in entry.values}
    pipeline = (
        Pipeline()
        .with_values_of(of_deployer, f"deployer {deployer}")
        .with_values_of(of_repo, OPERATOR_FILE)
    )
    others = {key: value for key, value in entry.values.items() if key not in of_repo}
    return Repo(**{"name": name, "pipeline": pipeline, **by_field_name(others, REPO_KEYS)})
