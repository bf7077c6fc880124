"""JSON Schemas ("shapes") of the values that readers accept, for use in editors.

They are of draft-07, which yaml-language-server, the YAML support of editors, knows best. A shape
may accept more than its reader, because the reader decides; it never accepts less. Booleans are
the exception: a reader accepts ``yes`` and ``off`` as well, but in YAML 1.2, which editors use,
only ``true`` and ``false`` are booleans.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from deployctl.config.complaints import Reading
from deployctl.config.yaml_tree import Node
from deployctl.values.text import KB

T = TypeVar("T")
Shape = dict[str, Any]

# A reader of text takes the characters in the file as they are, so 1.0 is text too.
_SCALAR = ["string", "number", "boolean"]
TEXT: Shape = {"type": _SCALAR}
LINE: Shape = {"type": _SCALAR, "pattern": r"^[^\r\n]*\S[^\r\n]*$"}
PATH: Shape = {"type": _SCALAR, "pattern": r"^(?!~[^/])[^\r\n]*\S[^\r\n]*$"}
RELATIVE_PATH: Shape = {
    "type": _SCALAR,
    "pattern": r"^(?!/)(?!([^\r\n]*/)?\.\.(/|$))[^\r\n]*\S[^\r\n]*$",
}
BOOLEAN: Shape = {"type": "boolean"}
# Not blank; env: and file: only with a name or path after them.
SECRET: Shape = {
    "type": _SCALAR,
    "pattern": r"^(?!env:(?![A-Za-z_][A-Za-z0-9_]*$))(?!file:\s*$)[\s\S]*\S",
}
DURATION: Shape = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {
            "type": "string",
            "pattern": r"^(?=\d)(\d+(\.\d+)?|(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s)?)$",
        },
    ]
}
SIZE: Shape = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^[0-9]{1,9}([KMG](i?B)?)?$"},
    ]
}
GIT_URL: Shape = {
    "type": _SCALAR,
    "pattern": r"^(?!-|[A-Za-z0-9+.-]*::|http://|git://|~[^/])[^\r\n]*\S[^\r\n]*$",
}
HEALTH_URL: Shape = {"type": "string", "pattern": r"^(https?://\S+|http\+unix://(%2[Ff]|\$)\S+)$"}
CHANNEL_URL: Shape = {"type": "string", "pattern": "^env:[A-Za-z_][A-Za-z0-9_]*$|^file:.|://"}
_SCRIPT: Shape = {"type": _SCALAR, "pattern": r"\S"}
_ARGV: Shape = {"type": "array", "items": TEXT, "minItems": 1}
COMMAND: Shape = {"anyOf": [_SCRIPT, _ARGV]}
_WORDS_OR_COMMANDS: Shape = {"type": "array", "items": {"anyOf": [TEXT, _ARGV]}}
COMMANDS: Shape = {"anyOf": [_SCRIPT, {**_WORDS_OR_COMMANDS, "minItems": 1}]}
COMMANDS_OR_NONE: Shape = {"anyOf": [_SCRIPT, _WORDS_OR_COMMANDS]}

# Patterns of keys that the author of the file chooses.
NAME = r"^(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,63}$"
VARIABLE = "^(?!DEPLOYCTL_)[A-Za-z_][A-Za-z0-9_]*$"
HEADER = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Reader(Generic[T]):
    """A function that reads a node and returns a value, with the JSON Schema of what it accepts.

    ``shape`` is a function, because the tables of keys are defined below the readers that use
    them. ``format_value`` turns a value into what one would write in the file; it is used to show
    defaults.
    """

    read: Callable[[Node, Reading], T]
    shape: Callable[[], Shape]
    format_value: Callable[[Any], Any] = _unchanged

    def __call__(self, node: Node, reading: Reading) -> T:
        return self.read(node, reading)


def shaped(
    shape: Shape | Callable[[], Shape], format_value: Callable[[Any], Any] = _unchanged
) -> Callable[[Callable[[Node, Reading], T]], Reader[T]]:
    """Return a decorator that makes a :class:`Reader` of a function.

    ``shape`` is the JSON Schema of what the function accepts, or a function that returns that.
    """
    get_shape = shape if callable(shape) else lambda: shape

    def make_reader(read: Callable[[Node, Reading], T]) -> Reader[T]:
        return Reader(read, get_shape, format_value)

    return make_reader


def list_of(item: Shape, *, minimum: int = 0) -> Shape:
    """Return the shape of a list with at least ``minimum`` items."""
    return {"type": "array", "items": item, **({"minItems": minimum} if minimum else {})}


def one_or_more(item: Shape) -> Shape:
    """Return the shape of one item, or of a list that is not empty."""
    return {"anyOf": [item, list_of(item, minimum=1)]}


def mapping(item: Shape, names: str) -> Shape:
    """Return the shape of a mapping whose keys match the pattern ``names``."""
    return {"type": "object", "propertyNames": {"pattern": names}, "additionalProperties": item}


def choice(known: Collection[str]) -> Shape:
    """Return the shape of a value that is one of ``known``."""
    return {"enum": [*known]}


def excluding(shape: Shape, *excluded: Shape) -> Shape:
    """Return a shape that accepts what ``shape`` accepts, except what ``excluded`` accept."""
    return {**shape, "not": {"anyOf": [*excluded]}}


def format_duration(seconds: float) -> str | int:
    """Return a duration as one writes it in repos.yml, such as ``30m``; 0 has no unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and not seconds % length:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s" if seconds else 0


def format_size(count: int) -> str | int:
    """Return a number of bytes as one writes it in repos.yml, such as ``200M``; 0 has no unit."""
    size, units = count, iter("KMG")
    unit = ""
    while size and not size % KB and (larger := next(units, "")):
        size, unit = size // KB, larger
    return f"{size}{unit}" if unit else size
