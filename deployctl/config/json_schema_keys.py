"""JSON Schemas of mappings with known keys, made from the tables that also read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from deployctl.config.json_schema_types import Shape
from deployctl.config.readers import Key, KeyTable


def keys_shape(
    table: KeyTable,
    values: type | None = None,
    required: Collection[str] = (),
    **extra: Any,
) -> Shape:
    """Return the shape of a mapping with the keys of ``table``.

    ``values`` is the dataclass that has the defaults of the keys. ``extra`` are more keywords of
    JSON Schema, for rules about several keys.
    """
    defaults = _defaults(values) if values else {}
    return {
        "type": "object",
        "properties": {name: _key_shape(name, key, defaults) for name, key in table.items()},
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
        **({"required": [*required]} if required else {}),
        **extra,
    }


def _key_shape(name: str, key: Key, defaults: Mapping[str, Any]) -> Shape:
    shape = {"description": key.doc, **key.reader.shape()}
    default = defaults.get(key.field or name)
    # These defaults mean that the feature is off, as the description says.
    if default in (None, "", ()):
        return shape
    return {**shape, "default": key.reader.format_value(default)}


def _defaults(values: type) -> dict[str, Any]:
    return {
        field.name: field.default
        for field in dataclasses.fields(values)
        if field.default is not dataclasses.MISSING
    }


def exactly_one_of(*keys: str) -> list[Shape]:
    """Return the value of ``oneOf`` for: exactly one of these keys is present."""
    return [{"required": [key]} for key in keys]
