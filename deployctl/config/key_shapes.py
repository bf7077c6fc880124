"""The shape of a mapping with known keys, from the very table that reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from deployctl.config.readers import Key, Table
from deployctl.config.shapes import Shape


def keys_shape(
    table: Table,
    values: type | None = None,
    required: Collection[str] = (),
    **more: Any,
) -> Shape:
    """``values`` is the dataclass that has the defaults; ``more`` is what no single key says."""
    defaults = _defaults(values) if values else {}
    return {
        "type": "object",
        "properties": {name: _key_shape(name, key, defaults) for name, key in table.items()},
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
        **({"required": [*required]} if required else {}),
        **more,
    }


def _key_shape(name: str, key: Key, defaults: Mapping[str, Any]) -> Shape:
    shape = {"description": key.doc, **key.read.shape()}
    default = defaults.get(key.field or name)
    # Nothing, and empty, is what the description says of a key that is left out.
    if default in (None, "", ()):
        return shape
    return {**shape, "default": key.read.write(default)}


def _defaults(values: type) -> dict[str, Any]:
    return {
        each.name: each.default
        for each in dataclasses.fields(values)
        if each.default is not dataclasses.MISSING
    }


def one_of(*keys: str) -> list[Shape]:
    """One of these keys and no other of them."""
    return [{"required": [key]} for key in keys]
