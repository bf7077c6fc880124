"""The JSON Schemas of repos.yml and of the project's own pipeline file, for use in editors."""

from __future__ import annotations

from deployctl.config.json_schema_keys import keys_shape
from deployctl.config.json_schema_types import Shape
from deployctl.config.project import PROJECT_KEYS
from deployctl.config.schema import TOP_KEYS
from deployctl.values.repo import Config, Pipeline

_DIALECT = "http://json-schema.org/draft-07/schema#"


def repos_yml() -> Shape:
    """Return the JSON Schema of repos.yml."""
    title = "repos.yml: what deployctl deploys, from where, to where, and how"
    return _document(title, keys_shape(TOP_KEYS, Config, required=("repos",)))


def project_file() -> Shape:
    """Return the JSON Schema of the project's own pipeline file."""
    title = ".deployctl.yml: how deployctl builds, starts and checks this project"
    return _document(title, keys_shape(PROJECT_KEYS, Pipeline))


def _document(title: str, shape: Shape) -> Shape:
    return {"$schema": _DIALECT, "title": title, **shape}
