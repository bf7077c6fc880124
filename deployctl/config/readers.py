"""Readers: functions that check a node of the YAML tree and return its value.

A reader raises :class:`ComplaintError` if the node is wrong. The readers of lists and mappings
collect the complaints about their items and continue, so that all complaints are reported
together. The value that they return is then incomplete; it is not used, because the complaints
are raised in the end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deployctl.config import json_schema_types
from deployctl.config.complaints import ComplaintError, Reading, suggest
from deployctl.config.json_schema_types import Reader, shaped
from deployctl.config.yaml_tree import List, Map, Node, Scalar
from deployctl.values.secret import Secret, is_set_by_web_server
from deployctl.values.text import GB, KB, MB
from deployctl.values.times import parse_duration

T = TypeVar("T")

# Characters. Paths cannot be longer (PATH_MAX), and no other value on one line needs to be.
MAX_LINE = 4096
# poll(2) and similar calls accept no timeout of more than 2**31 - 1 ms, which are 24 days.
MAX_DAYS = 7

_SIZES = {"": 1, "K": KB, "M": MB, "G": GB}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


@dataclass(frozen=True)
class Key:
    """One key of a section: how its value is read, and its meaning in one line.

    ``field`` is the name of the dataclass's field for the value; empty if it is the key's name.
    """

    reader: Reader[Any]
    doc: str
    field: str = ""


# The keys of one section, by name.
KeyTable = Mapping[str, Key]


def read_keys(
    node: Node, table: KeyTable, reading: Reading, required: Collection[str] = ()
) -> dict[str, Any]:
    """Read a mapping with known keys; return ``{key: value}`` of the keys without a fault.

    Keys that begin with ``x-`` are ignored.
    """
    entries = mapping(node).entries
    for key in required:
        if key not in entries:
            reading.complain(node, f"missing key {key}: {table[key].doc}")
    values = {}
    for key, value in entries.items():
        if key in table:
            values[key] = reading.attempt(table[key].reader, value)
        elif not key.startswith("x-"):
            reading.complain(value, f"unknown key, {suggest(key, table)}")
    return {key: value for key, value in values.items() if value is not None}


def by_field_name(values: Mapping[str, Any], table: KeyTable) -> dict[str, Any]:
    """Return the values by the names that the dataclass's fields have."""
    return {table[key].field or key: value for key, value in values.items()}


def mapping(node: Node) -> Map:
    """Return the node if it is a mapping; raise ComplaintError if not."""
    if not isinstance(node, Map):
        hint = ": write {} for an empty one" if node.kind == "nothing" else ""
        raise ComplaintError(node, f"wanted a mapping, found {node.kind}{hint}")
    return node


def mapping_of(read: Reader[T], name_fault: Callable[[str], str | None]) -> Reader[dict[str, T]]:
    """Return a reader of a mapping of names to values.

    ``name_fault`` returns the complaint about a name, or None.
    """

    @shaped(lambda: json_schema_types.mapping(read.shape(), _NAMES[name_fault]))
    def read_mapping(node: Node, reading: Reading) -> dict[str, T]:
        values = {}
        for name, item in mapping(node).entries.items():
            fault = name_fault(name)
            if fault:
                reading.complain(item, fault)
            value = reading.attempt(read, item)
            if value is not None:
                values[name] = value
        return values

    return read_mapping


def list_of(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of a list, which may be empty."""

    @shaped(lambda: json_schema_types.list_of(read.shape()))
    def read_list(node: Node, reading: Reading) -> tuple[T, ...]:
        if not isinstance(node, List):
            hint = ": write [] for an empty one" if node.kind == "nothing" else ""
            raise ComplaintError(node, f"wanted a list, found {node.kind}{hint}")
        values = (reading.attempt(read, item) for item in node.items)
        return tuple(value for value in values if value is not None)

    return read_list


def one_or_more(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of one value, or of a list that is not empty."""

    @shaped(lambda: json_schema_types.one_or_more(read.shape()))
    def read_one_or_more(node: Node, reading: Reading) -> tuple[T, ...]:
        if not isinstance(node, List):
            return (read(node, reading),)
        if not node.items:
            raise ComplaintError(node, "an empty list: write at least one, or leave the key out")
        return list_of(read)(node, reading)

    return read_one_or_more


@shaped(json_schema_types.TEXT)
def text(node: Node, _reading: Reading) -> str:
    """Read any scalar as it is written: ``1.0`` stays ``1.0``, and ``on`` stays ``on``."""
    if not isinstance(node, Scalar):
        raise ComplaintError(node, f"wanted text, found {node.kind}")
    if node.kind == "nothing":
        raise ComplaintError(node, 'wanted text, found nothing: write "" for empty text')
    return node.text


@shaped(json_schema_types.LINE)
def line(node: Node, reading: Reading) -> str:
    """Read text on one line, without control characters, and not empty."""
    if isinstance(node, Scalar) and (node.kind == "nothing" or not node.text.strip()):
        raise ComplaintError(node, "wanted text, found nothing: write a value, or remove the key")
    value = text(node, reading)
    if not value.isprintable():
        raise ComplaintError(node, "a line break or control character: write it on one line")
    if len(value) > MAX_LINE:
        raise ComplaintError(node, f"longer than {MAX_LINE} characters: make it shorter")
    return value


@shaped(json_schema_types.BOOLEAN)
def boolean(node: Node, _reading: Reading) -> bool:
    """Read a boolean, in any spelling of YAML 1.1 (``true``, ``yes``, ``on``)."""
    if not isinstance(node, Scalar) or node.kind != "true or false":
        raise ComplaintError(node, f"wanted true or false, found {node.kind}")
    return node.text.lower() in ("true", "yes", "on")


def whole_number(minimum: int, maximum: int) -> Reader[int]:
    """Return a reader of a whole number in this range, both ends included."""

    @shaped({"type": "integer", "minimum": minimum, "maximum": maximum})
    def read_whole_number(node: Node, _reading: Reading) -> int:
        if not isinstance(node, Scalar) or node.kind != "a whole number":
            raise ComplaintError(node, f"wanted a whole number, found {node.kind}")
        # Decimal only: YAML 1.1 also allows 0x1F, 1_000 and 1:30, and reads 010 as 8.
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", node.text):
            raise ComplaintError(node, "wanted a whole number in plain decimal digits")
        value = int(node.text)
        if not minimum <= value <= maximum:
            raise ComplaintError(node, f"out of range: wanted {minimum} to {maximum}")
        return value

    return read_whole_number


def size(maximum: int, *, zero: bool = False) -> Reader[int]:
    """Return a reader of a size, in bytes, such as ``4096``, ``512K``, ``200MB`` or ``2GiB``.

    All units are powers of 1024. ``maximum`` is in bytes; 0 is accepted only with ``zero``.
    """

    @shaped(json_schema_types.SIZE, json_schema_types.format_size)
    def read_size(node: Node, reading: Reading) -> int:
        match = re.fullmatch(r"([0-9]{1,9})([KMG]?)(?:(?<=[KMG])i?B)?", line(node, reading))
        if not match:
            raise ComplaintError(node, "wanted a size: bytes, or like 512K, 200M or 2G")
        value = int(match[1]) * _SIZES[match[2]]
        if not (0 if zero else 1) <= value <= maximum:
            minimum, megabytes = "0" if zero else "1 byte", maximum // MB
            raise ComplaintError(node, f"out of range: wanted {minimum} to {megabytes}M")
        return value

    return read_size


def duration(*, zero: bool = False, days: int = MAX_DAYS) -> Reader[float]:
    """Return a reader of a duration, in seconds, of at most so many days; 0 only with ``zero``."""

    @shaped(json_schema_types.DURATION, json_schema_types.format_duration)
    def read_duration(node: Node, reading: Reading) -> float:
        value = parse_duration(line(node, reading))
        if value is None:
            raise ComplaintError(node, "wanted a duration: seconds, or like 90s, 10m, 1h30m")
        if value > days * 86400 or math.isinf(value):
            raise ComplaintError(node, f"too long: at most {days}d")
        if not value and not zero:
            raise ComplaintError(node, "must be more than 0")
        return value

    return read_duration


def choice(*known: str) -> Reader[str]:
    """Return a reader of a value that is one of ``known``."""

    @shaped(json_schema_types.choice(known))
    def read_choice(node: Node, reading: Reading) -> str:
        value = line(node, reading)
        if value not in known:
            raise ComplaintError(node, f"wanted one of {', '.join(known)}")
        return value

    return read_choice


def defined_name(section: str, *built_in: str) -> Reader[str]:
    """Return a reader of a name that another section defines.

    The name is not checked if that section cannot be read.
    """

    @shaped(
        {**json_schema_types.LINE, "examples": [*built_in]} if built_in else json_schema_types.LINE
    )
    def read_defined_name(node: Node, reading: Reading) -> str:
        value = line(node, reading)
        names = reading.names.get(section)
        if names is not None and value not in names:
            message = f"no such name under {section}, {suggest(value, names)}"
            raise ComplaintError(node, message)
        return value

    return read_defined_name


@shaped(json_schema_types.PATH)
def path(node: Node, reading: Reading) -> str:
    """Read a path, and return it absolute; it may be relative to the directory of repos.yml."""
    value = line(node, reading)
    if value.startswith("~") and value != "~" and not value.startswith("~/"):
        raise ComplaintError(node, "only ~/ stands for a home: write the whole path")
    return reading.resolve(value)


@shaped(json_schema_types.RELATIVE_PATH)
def relative_path(node: Node, reading: Reading) -> str:
    """Read a relative path without ``..``, and return it normalised."""
    value = line(node, reading)
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if value.startswith("/") or ".." in parts:
        raise ComplaintError(node, "must be relative, without ..: it is inside the release")
    return "/".join(parts) or "."


@shaped(json_schema_types.SECRET)
def secret(node: Node, reading: Reading) -> Secret:
    """Read ``env:NAME``, ``file:PATH`` or the secret itself; PATH becomes absolute."""
    value = text(node, reading)
    if not value.strip():
        raise ComplaintError(node, "an empty secret: write env:NAME, file:PATH or the value")
    kind, _, rest = value.partition(":")
    if kind == "env" and not _VARIABLE.fullmatch(rest):
        raise ComplaintError(node, "wanted the name of a variable after env:")
    if kind == "env" and is_set_by_web_server(rest):
        raise ComplaintError(
            node, "web servers set that variable from the request: use another name"
        )
    if kind != "file":
        return Secret(value)
    if not rest.strip() or not rest.isprintable() or len(rest) > MAX_LINE:
        raise ComplaintError(node, "wanted the path of a file after file:")
    return Secret(f"file:{reading.resolve(rest)}")


def name_fault(name: str) -> str | None:
    """Return the complaint about the name of a repo, channel or deployer, or None.

    Such names are used as file names and as arguments of commands.
    """
    if _NAME.fullmatch(name) and ".." not in name:
        return None
    return "bad name: wanted a-z, 0-9, . _ - (first a letter or digit, no .., at most 64)"


def variable_fault(name: str) -> str | None:
    """Return the complaint about the name of an environment variable, or None."""
    if not _VARIABLE.fullmatch(name):
        return "bad name of a variable: wanted letters, digits and _, and no digit first"
    if name.startswith("DEPLOYCTL_"):
        return "reserved: deployctl sets the variables that start with DEPLOYCTL_"
    return None


def header_fault(name: str) -> str | None:
    """Return the complaint about a header's name, or None; it must be a token (RFC 9110, 5.6.2)."""
    return None if _HEADER.fullmatch(name) else "not the name of a header"


# The check of a name -> the pattern of the names that pass it, for JSON Schema.
_NAMES: Mapping[Callable[[str], str | None], str] = {
    name_fault: json_schema_types.NAME,
    variable_fault: json_schema_types.VARIABLE,
    header_fault: json_schema_types.HEADER,
}
