"""Parsing of YAML into a tree of nodes that have a line number and a dotted path.

PyYAML is used as a parser only. No tag creates a Python object, and a scalar keeps the text that
is written in the file: ``branch: 1.0`` gives the text ``1.0``, and the key ``on:`` the text ``on``
(by YAML 1.1, the first would be a float and the second ``true``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.reader import Reader as YamlReader

from deployctl.config.complaints import ComplaintError, Location, Reading, printable

# repos.yml needs 7 levels and about 20 values for each repo. Both limits exist because of aliases:
# an alias that contains itself never ends, and a few lines of aliases to aliases expand to
# billions of values.
MAX_DEPTH = 30
MAX_VALUES = 200_000

_TAG = "tag:yaml.org,2002:"
# Resolved tag of a scalar -> its kind, as complaints call it.
_KINDS = {
    f"{_TAG}str": "text",
    f"{_TAG}timestamp": "text",
    f"{_TAG}value": "text",
    f"{_TAG}merge": "text",
    f"{_TAG}int": "a whole number",
    f"{_TAG}float": "a number",
    f"{_TAG}bool": "true or false",
    f"{_TAG}null": "nothing",
}
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels: does an alias contain itself?"
_NO_TAGS = "tags are not supported: remove it, or put quotes around text that starts with !"
_NO_MERGE = "merge keys are not supported: use defaults, or an alias for a whole value"


@dataclass(frozen=True)
class Scalar:
    """A value that is one piece of text.

    ``kind`` is the type that YAML 1.1 gives it, such as ``a whole number``: text if it is quoted.
    """

    line: int
    path: str
    text: str
    kind: str


@dataclass(frozen=True)
class List:
    """A sequence of nodes."""

    line: int
    path: str
    items: tuple[Node, ...]
    kind = "a list"


@dataclass(frozen=True)
class Map:
    """A mapping of keys to nodes."""

    line: int
    path: str
    entries: Mapping[str, Node]
    kind = "a mapping"


# ``line`` (from 1) is the line of the value's key; for an item of a list, the line of the item.
Node = Scalar | List | Map


def read_document(
    data: bytes, reading: Reading, *, key: str = "repos", manual: str = "the README"
) -> Map:
    """Return the whole file as a tree; add faults such as duplicate keys to ``reading``.

    ``key`` and ``manual`` are for the complaint about an empty file: a key that the file should
    have, and the document that explains it. Raises :class:`ConfigError` if the file has no mapping
    at the top: if it is not UTF-8, not YAML, empty, or if its value is of another kind.
    """
    try:
        root = _compose(_decode(data))
        if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
            raise ComplaintError(Location(1, ""), f"empty: write at least {key}, see {manual}")
        tree = _Converter(reading).convert(root, 1, "")
        if not isinstance(tree, Map):
            raise ComplaintError(
                tree, f"wanted a mapping with the key {key} at the top, found {tree.kind}"
            )
    except ComplaintError as error:
        reading.complain(error.location, error.message)
        reading.fail()
    return tree


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ComplaintError(Location(line, ""), "not UTF-8: save the file as UTF-8") from None
    control = YamlReader.NON_PRINTABLE.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        message = f"the control character U+{ord(control[0]):04X}: remove it"
        raise ComplaintError(Location(line, ""), message)
    return text


class _DepthLimit:
    """A base class for a loader that stops where the document is nested too deep.

    Both parsers of PyYAML are recursive, and in the C one a stack overflow ends the process. They
    call the two methods before and after every node, for path resolvers, a feature that deployctl
    does not use.
    """

    depth = 0

    def descend_resolver(self, parent: yaml.Node | None, _index: object) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH and parent is not None:
            raise ComplaintError(Location(_line_number(parent), ""), _TOO_DEEP)

    def ascend_resolver(self) -> None:
        self.depth -= 1


_Loader: Any = type(
    "_Loader", (_DepthLimit, getattr(yaml, "CSafeLoader", None) or yaml.SafeLoader), {}
)


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ComplaintError(
            Location(mark.line + 1 if mark else 1, ""), _syntax_message(error, text)
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        message = r"not YAML: a character that does not exist: look for \U"
        raise ComplaintError(Location(1, ""), message) from None


def _syntax_message(error: yaml.MarkedYAMLError, text: str) -> str:
    if "maximum nesting depth" in str(error.problem):
        # libyaml >= 0.2.6 scans ahead, so its own limit can be reached before MAX_DEPTH.
        return _TOO_DEEP
    if _is_about_tab(error, text):
        return "not YAML: a tab: indent with spaces only"
    message = _without_quotations(error.problem or "it cannot be parsed")
    if error.context and error.context_mark:
        start = error.context_mark.line + 1
        message = f"{_without_quotations(error.context)} (from line {start}): {message}"
    return f"not YAML: {message} (look at the indentation, quotes and brackets)"


def _is_about_tab(error: yaml.MarkedYAMLError, text: str) -> bool:
    mark = error.problem_mark
    if mark is None or "cannot start any token" not in str(error.problem):
        return False
    line = text.split("\n")[mark.line]
    return line[mark.column : mark.column + 1] == "\t"


def _without_quotations(problem: str) -> str:
    """Return the problem on one line, without the text that it quotes from the file.

    PyYAML quotes text of the file in some of its messages, and that may be part of a secret.
    """
    return re.sub(r"'[^']{2,}'", "…", " ".join(problem.split()))


def _line_number(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


class _Converter:
    """A conversion of PyYAML's nodes to those of this module, within the limits above.

    Every alias is replaced by a copy of the value that it stands for.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._values = 0
        self._depth = 0

    def convert(self, node: yaml.Node, line: int, path: str) -> Node:
        self._values += 1
        if self._values > MAX_VALUES:
            message = f"more than {MAX_VALUES} values once all aliases are spelled out: use fewer"
            raise ComplaintError(Location(line, path), message)
        if self._depth > MAX_DEPTH:
            raise ComplaintError(Location(line, ""), _TOO_DEEP)
        self._depth += 1
        try:
            return self._convert(node, line, path)
        finally:
            self._depth -= 1

    def _convert(self, node: yaml.Node, line: int, path: str) -> Node:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return Map(line, path, dict(self._entries(node, path)))
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return List(line, path, tuple(self._items(node, path)))
        if isinstance(node, yaml.ScalarNode) and node.tag in _KINDS:
            return self._scalar(node, line, path)
        self._reading.complain(Location(line, path), _NO_TAGS)
        return Scalar(line, path, "", "text")

    def _scalar(self, node: yaml.ScalarNode, line: int, path: str) -> Scalar:
        """Return the scalar, and complain about U+0000 and surrogates in it.

        Escapes in quoted text can produce them. No file name and no argument of a program can
        contain them.
        """
        if re.search("[\0\ud800-\udfff]", node.value):
            self._reading.complain(
                Location(line, path), "a NUL or an unpaired surrogate: remove it"
            )
        return Scalar(line, path, node.value, _KINDS[node.tag])

    def _items(self, node: yaml.SequenceNode, path: str) -> Iterator[Node]:
        for index, item in enumerate(node.value):
            yield self.convert(item, _line_number(item), f"{path}[{index}]")

    def _entries(self, node: yaml.MappingNode, path: str) -> Iterator[tuple[str, Node]]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            location = Location(
                _line_number(key), f"{path}.{printable(str(key.value))}".lstrip(".")
            )
            if not isinstance(key, yaml.ScalarNode):
                self._reading.complain(Location(location.line, path), "a key must be text")
            elif key.tag == f"{_TAG}merge":
                self._reading.complain(location, _NO_MERGE)
            elif key.value in lines:
                first = lines[key.value]
                self._reading.complain(location, f"duplicate key, first on line {first}: keep one")
            else:
                lines[key.value] = location.line
                yield key.value, self.convert(value, location.line, location.path)
