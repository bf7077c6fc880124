"""What a reader takes, so that an editor can be told: JSON Schema, draft-07.

The YAML support of editors (yaml-language-server) knows draft-07 best. A shape may take more than
its reader, which has the last word, and never less; but for ``true`` and ``false``, which YAML 1.2
spells in one way only.
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

# Text is what stands in the file, so 1.0 is text as well.
_SCALAR = ["string", "number", "boolean"]
TEXT: Shape = {"type": _SCALAR}
LINE: Shape = {"type": _SCALAR, "pattern": r"^[^\r\n]*\S[^\r\n]*$"}
PATH: Shape = {"type": _SCALAR, "pattern": r"^(?!~[^/])[^\r\n]*\S[^\r\n]*$"}
INSIDE: Shape = {"type": _SCALAR, "pattern": r"^(?!/)(?!([^\r\n]*/)?\.\.(/|$))[^\r\n]*\S[^\r\n]*$"}
BOOLEAN: Shape = {"type": "boolean"}
# At least one character that is no space, and what only begins like a reference is none.
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
HEALTH_URL: Shape = {"type": "string", "pattern": r"^https?://\S+$"}
CHANNEL_URL: Shape = {"type": "string", "pattern": "^env:[A-Za-z_][A-Za-z0-9_]*$|^file:.|://"}
_SCRIPT: Shape = {"type": _SCALAR, "pattern": r"\S"}
_ARGV: Shape = {"type": "array", "items": TEXT, "minItems": 1}
COMMAND: Shape = {"anyOf": [_SCRIPT, _ARGV]}
_WORDS_OR_COMMANDS: Shape = {"type": "array", "items": {"anyOf": [TEXT, _ARGV]}}
COMMANDS: Shape = {"anyOf": [_SCRIPT, {**_WORDS_OR_COMMANDS, "minItems": 1}]}
COMMANDS_OR_NONE: Shape = {"anyOf": [_SCRIPT, _WORDS_OR_COMMANDS]}

# Names of a mapping's own choosing.
NAME = r"^(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,63}$"
VARIABLE = "^(?!DEPLOYCTL_)[A-Za-z_][A-Za-z0-9_]*$"
HEADER = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Reader(Generic[T]):
    """A function from a node to a value that knows what it takes.

    ``shape`` tells it when asked, as tables of keys stand below what reads them; ``write`` makes
    of a value what one would write in the file.
    """

    read: Callable[[Node, Reading], T]
    shape: Callable[[], Shape]
    write: Callable[[Any], Any] = _as_it_is

    def __call__(self, node: Node, reading: Reading) -> T:
        return self.read(node, reading)


def shaped(
    shape: Shape | Callable[[], Shape], write: Callable[[Any], Any] = _as_it_is
) -> Callable[[Callable[[Node, Reading], T]], Reader[T]]:
    """Make a reader of a function, by what it takes."""
    ask = shape if callable(shape) else lambda: shape

    def make(read: Callable[[Node, Reading], T]) -> Reader[T]:
        return Reader(read, ask, write)

    return make


def list_of(item: Shape, *, least: int = 0) -> Shape:
    return {"type": "array", "items": item, **({"minItems": least} if least else {})}


def one_or_more(item: Shape) -> Shape:
    return {"anyOf": [item, list_of(item, least=1)]}


def mapping(item: Shape, names: str) -> Shape:
    return {"type": "object", "propertyNames": {"pattern": names}, "additionalProperties": item}


def choice(known: Collection[str]) -> Shape:
    return {"enum": [*known]}


def but(shape: Shape, *not_these: Shape) -> Shape:
    return {**shape, "not": {"anyOf": [*not_these]}}


def written_duration(seconds: float) -> str | int:
    """``30m``; 0 needs no unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and not seconds % length:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s" if seconds else 0


def written_size(count: int) -> str | int:
    """``200M``; 0 needs no unit."""
    size, units = count, iter("KMG")
    unit = ""
    while size and not size % KB and (larger := next(units, "")):
        size, unit = size // KB, larger
    return f"{size}{unit}" if unit else size
