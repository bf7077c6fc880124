"""Readers: from a node to a value; what is wrong is raised as a ComplaintError.

Those that read a list or a mapping note the complaints of its parts and go on, so that
everything comes at once. What they return is then incomplete, and nobody gets to see it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deployctl.config import shapes
from deployctl.config.complaints import ComplaintError, Reading, guess
from deployctl.config.shapes import Reader, shaped
from deployctl.config.yaml_tree import List, Map, Node, Scalar
from deployctl.values.secret import Secret, is_of_request
from deployctl.values.text import GB, KB, MB
from deployctl.values.times import parse_duration

T = TypeVar("T")

# Paths cannot be longer (PATH_MAX), and nothing else that fits on a line needs to be.
MAX_LINE = 4096
# poll(2) and its kin take no more; nobody waits that long either.
MAX_DAYS = 7

_SIZES = {"": 1, "K": KB, "M": MB, "G": GB}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


@dataclass(frozen=True)
class Key:
    """One key of a section: how its value is read, and what it means in one line.

    ``field`` is the name of the value's attribute where it is not that of the key.
    """

    read: Reader[Any]
    doc: str
    field: str = ""


Table = Mapping[str, Key]


def read_keys(
    node: Node, table: Table, reading: Reading, required: Collection[str] = ()
) -> dict[str, Any]:
    """A mapping with known keys -> ``{key: value}`` of those that are there and right."""
    entries = mapping(node).entries
    for key in required:
        if key not in entries:
            reading.complain(node, f"missing key {key}: {table[key].doc}")
    values = {}
    for key, value in entries.items():
        if key in table:
            values[key] = reading.attempt(table[key].read, value)
        elif not key.startswith("x-"):
            reading.complain(value, f"unknown key, {guess(key, table)}")
    return {key: value for key, value in values.items() if value is not None}


def fields(values: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The values under the names that the dataclass has for them."""
    return {table[key].field or key: value for key, value in values.items()}


def mapping(node: Node) -> Map:
    if not isinstance(node, Map):
        hint = ": write {} for an empty one" if node.what == "nothing" else ""
        raise ComplaintError(node, f"wanted a mapping, found {node.what}{hint}")
    return node


def mapping_of(read: Reader[T], name_fault: Callable[[str], str | None]) -> Reader[dict[str, T]]:
    """A mapping of names to values; ``name_fault`` says what is wrong with a name."""

    @shaped(lambda: shapes.mapping(read.shape(), _NAMES[name_fault]))
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
    @shaped(lambda: shapes.list_of(read.shape()))
    def read_list(node: Node, reading: Reading) -> tuple[T, ...]:
        if not isinstance(node, List):
            hint = ": write [] for an empty one" if node.what == "nothing" else ""
            raise ComplaintError(node, f"wanted a list, found {node.what}{hint}")
        values = (reading.attempt(read, item) for item in node.items)
        return tuple(value for value in values if value is not None)

    return read_list


def one_or_more(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """One value, or a list that is not empty."""

    @shaped(lambda: shapes.one_or_more(read.shape()))
    def read_one_or_more(node: Node, reading: Reading) -> tuple[T, ...]:
        if not isinstance(node, List):
            return (read(node, reading),)
        if not node.items:
            raise ComplaintError(node, "an empty list: write at least one, or leave the key out")
        return list_of(read)(node, reading)

    return read_one_or_more


@shaped(shapes.TEXT)
def text(node: Node, _reading: Reading) -> str:
    """Any scalar as it is written in the file: ``1.0`` stays ``1.0``, and ``on`` stays ``on``."""
    if not isinstance(node, Scalar):
        raise ComplaintError(node, f"wanted text, found {node.what}")
    if node.what == "nothing":
        raise ComplaintError(node, 'wanted text, found nothing: write "" for empty text')
    return node.text


@shaped(shapes.LINE)
def line(node: Node, reading: Reading) -> str:
    """Text on one line, without control characters, and not empty."""
    if isinstance(node, Scalar) and (node.what == "nothing" or not node.text.strip()):
        raise ComplaintError(node, "wanted text, found nothing: write a value, or remove the key")
    value = text(node, reading)
    if not value.isprintable():
        raise ComplaintError(node, "a line break or control character: write it on one line")
    if len(value) > MAX_LINE:
        raise ComplaintError(node, f"longer than {MAX_LINE} characters: make it shorter")
    return value


@shaped(shapes.BOOLEAN)
def boolean(node: Node, _reading: Reading) -> bool:
    if not isinstance(node, Scalar) or node.what != "true or false":
        raise ComplaintError(node, f"wanted true or false, found {node.what}")
    return node.text.lower() in ("true", "yes", "on")


def whole_number(minimum: int, maximum: int) -> Reader[int]:
    @shaped({"type": "integer", "minimum": minimum, "maximum": maximum})
    def read_whole_number(node: Node, _reading: Reading) -> int:
        if not isinstance(node, Scalar) or node.what != "a whole number":
            raise ComplaintError(node, f"wanted a whole number, found {node.what}")
        # Decimal only: YAML 1.1 also knows 0x1F, 1_000 and 1:30, and means 8 by 010.
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", node.text):
            raise ComplaintError(node, "wanted a whole number in plain decimal digits")
        value = int(node.text)
        if not minimum <= value <= maximum:
            raise ComplaintError(node, f"out of range: wanted {minimum} to {maximum}")
        return value

    return read_whole_number


def size(maximum: int, *, zero: bool = False) -> Reader[int]:
    """Bytes, or ``512K``, ``200MB``, ``2GiB``, all by 1024; 0 only where it makes sense."""

    @shaped(shapes.SIZE, shapes.written_size)
    def read_size(node: Node, reading: Reading) -> int:
        match = re.fullmatch(r"([0-9]{1,9})([KMG]?)(?:(?<=[KMG])i?B)?", line(node, reading))
        if not match:
            raise ComplaintError(node, "wanted a size: bytes, or like 512K, 200M or 2G")
        value = int(match[1]) * _SIZES[match[2]]
        if not (0 if zero else 1) <= value <= maximum:
            least, megabytes = "0" if zero else "1 byte", maximum // MB
            raise ComplaintError(node, f"out of range: wanted {least} to {megabytes}M")
        return value

    return read_size


def duration(*, zero: bool = False, days: int = MAX_DAYS) -> Reader[float]:
    """Seconds; 0 only where it makes sense; so many days at most."""

    @shaped(shapes.DURATION, shapes.written_duration)
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
    @shaped(shapes.choice(known))
    def read_choice(node: Node, reading: Reading) -> str:
        value = line(node, reading)
        if value not in known:
            raise ComplaintError(node, f"wanted one of {', '.join(known)}")
        return value

    return read_choice


def defined(section: str, *built_in: str) -> Reader[str]:
    """A name that another section defines; not checked where that section cannot be read."""

    @shaped({**shapes.LINE, "examples": [*built_in]} if built_in else shapes.LINE)
    def read_defined(node: Node, reading: Reading) -> str:
        value = line(node, reading)
        names = reading.names.get(section)
        if names is not None and value not in names:
            what = f"no such name under {section}, {guess(value, names)}"
            raise ComplaintError(node, what)
        return value

    return read_defined


@shaped(shapes.PATH)
def path(node: Node, reading: Reading) -> str:
    """An absolute path; a relative one starts at the directory of repos.yml."""
    value = line(node, reading)
    if value.startswith("~") and value != "~" and not value.startswith("~/"):
        raise ComplaintError(node, "only ~/ stands for a home: write the whole path")
    return reading.resolve(value)


@shaped(shapes.INSIDE)
def inside(node: Node, reading: Reading) -> str:
    """A relative path that cannot lead out of the directory it starts in; normalised."""
    value = line(node, reading)
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if value.startswith("/") or ".." in parts:
        raise ComplaintError(node, "must be relative, without ..: it is inside the release")
    return "/".join(parts) or "."


@shaped(shapes.SECRET)
def secret(node: Node, reading: Reading) -> Secret:
    """``env:NAME``, ``file:PATH`` (absolute from here on) or the literal."""
    value = text(node, reading)
    if not value.strip():
        raise ComplaintError(node, "an empty secret: write env:NAME, file:PATH or the value")
    kind, _, rest = value.partition(":")
    if kind == "env" and not _VARIABLE.fullmatch(rest):
        raise ComplaintError(node, "wanted the name of a variable after env:")
    if kind == "env" and is_of_request(rest):
        raise ComplaintError(node, "whoever calls a web server can set that variable: rename it")
    if kind != "file":
        return Secret(value)
    if not rest.strip() or not rest.isprintable() or len(rest) > MAX_LINE:
        raise ComplaintError(node, "wanted the path of a file after file:")
    return Secret(f"file:{reading.resolve(rest)}")


def name_fault(name: str) -> str | None:
    """Names of repos, channels and deployers: they become file names and words of commands."""
    if _NAME.fullmatch(name) and ".." not in name:
        return None
    return "bad name: wanted a-z, 0-9, . _ - (first a letter or digit, no .., at most 64)"


def variable_fault(name: str) -> str | None:
    if not _VARIABLE.fullmatch(name):
        return "bad name of a variable: wanted letters, digits and _, and no digit first"
    if name.startswith("DEPLOYCTL_"):
        return "reserved: deployctl sets the variables that start with DEPLOYCTL_"
    return None


def header_fault(name: str) -> str | None:
    """RFC 9110, 5.6.2: a header's name is a token."""
    return None if _HEADER.fullmatch(name) else "not the name of a header"


_NAMES: Mapping[Callable[[str], str | None], str] = {
    name_fault: shapes.NAME,
    variable_fault: shapes.VARIABLE,
    header_fault: shapes.HEADER,
}
