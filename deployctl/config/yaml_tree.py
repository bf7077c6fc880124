"""The text of repos.yml -> a tree of nodes that know their line and their dotted path.

PyYAML only parses: no Python object is made of a tag, and a scalar stays the text that stands in
the file, so that ``branch: 1.0`` and the key ``on:`` mean what they say (YAML 1.1 makes a float
and ``true`` of them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.reader import Reader as YamlReader

from deployctl.config.complaints import ComplaintError, Reading, Spot, shown

# repos.yml needs 7 levels and some 20 values a repo. Both limits are there for aliases: one that
# contains itself never ends, and a few lines of aliases to aliases make billions of values.
MAX_DEPTH = 30
MAX_VALUES = 200_000

_TAG = "tag:yaml.org,2002:"
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
    """A value that is one piece of text; ``what`` it is without quotes: ``a whole number``."""

    line: int
    path: str
    text: str
    what: str


@dataclass(frozen=True)
class List:
    line: int
    path: str
    items: tuple[Node, ...]
    what = "a list"


@dataclass(frozen=True)
class Map:
    line: int
    path: str
    entries: Mapping[str, Node]
    what = "a mapping"


# ``line`` is that of the value's key, or its own in a list.
Node = Scalar | List | Map


def read_document(
    data: bytes, reading: Reading, *, key: str = "repos", manual: str = "the README"
) -> Map:
    """The whole file as a tree; duplicate keys and the like are noted in ``reading``.

    ``key`` is one that it should have, as ``manual`` says.
    :class:`ConfigError` where there is no tree to speak of: not UTF-8, not YAML, empty.
    """
    try:
        root = _compose(_decode(data))
        if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
            raise ComplaintError(Spot(1, ""), f"empty: write at least {key}, see {manual}")
        tree = _Converter(reading).convert(root, 1, "")
        if not isinstance(tree, Map):
            raise ComplaintError(
                tree, f"wanted a mapping with the key {key} at the top, found {tree.what}"
            )
    except ComplaintError as error:
        reading.complain(error.place, error.what)
        reading.fail()
    return tree


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ComplaintError(Spot(line, ""), "not UTF-8: save the file as UTF-8") from None
    control = YamlReader.NON_PRINTABLE.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        what = f"the control character U+{ord(control[0]):04X}: remove it"
        raise ComplaintError(Spot(line, ""), what)
    return text


class _DepthLimit:
    """Both parsers of PyYAML descend by recursion, the C one on a stack that cannot say no.

    They call these two around every node, for a feature (path resolvers) that we do not use.
    """

    depth = 0

    def descend_resolver(self, parent: yaml.Node | None, _index: object) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH and parent is not None:
            raise ComplaintError(Spot(_line(parent), ""), _TOO_DEEP)

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
        raise ComplaintError(Spot(mark.line + 1 if mark else 1, ""), _syntax(error, text)) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        what = r"not YAML: a character that does not exist: look for \U"
        raise ComplaintError(Spot(1, ""), what) from None


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    if "maximum nesting depth" in str(error.problem):  # libyaml >= 0.2.6 reads ahead of our limit
        return _TOO_DEEP
    if _is_tab(error, text):
        return "not YAML: a tab: indent with spaces only"
    what = _one_line(error.problem or "it cannot be parsed")
    if error.context and error.context_mark:
        start = error.context_mark.line + 1
        what = f"{_one_line(error.context)} (from line {start}): {what}"
    return f"not YAML: {what} (look at the indentation, quotes and brackets)"


def _is_tab(error: yaml.MarkedYAMLError, text: str) -> bool:
    mark = error.problem_mark
    if mark is None or "cannot start any token" not in str(error.problem):
        return False
    line = text.split("\n")[mark.line]
    return line[mark.column : mark.column + 1] == "\t"


def _one_line(problem: str) -> str:
    """PyYAML quotes the file's text here and there, and that may be half a secret."""
    return re.sub(r"'[^']{2,}'", "…", " ".join(problem.split()))


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


class _Converter:
    """Nodes of PyYAML -> ours, aliases spelled out, within the limits above."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._values = 0
        self._depth = 0

    def convert(self, node: yaml.Node, line: int, path: str) -> Node:
        self._values += 1
        if self._values > MAX_VALUES:
            what = f"more than {MAX_VALUES} values once all aliases are spelled out: use fewer"
            raise ComplaintError(Spot(line, path), what)
        if self._depth > MAX_DEPTH:
            raise ComplaintError(Spot(line, ""), _TOO_DEEP)
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
        self._reading.complain(Spot(line, path), _NO_TAGS)
        return Scalar(line, path, "", "text")

    def _scalar(self, node: yaml.ScalarNode, line: int, path: str) -> Scalar:
        """Quoted text can spell out U+0000 and surrogates, which no file or program can take."""
        if re.search("[\0\ud800-\udfff]", node.value):
            self._reading.complain(Spot(line, path), "a NUL or half a character: remove it")
        return Scalar(line, path, node.value, _KINDS[node.tag])

    def _items(self, node: yaml.SequenceNode, path: str) -> Iterator[Node]:
        for index, item in enumerate(node.value):
            yield self.convert(item, _line(item), f"{path}[{index}]")

    def _entries(self, node: yaml.MappingNode, path: str) -> Iterator[tuple[str, Node]]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            place = Spot(_line(key), f"{path}.{shown(str(key.value))}".lstrip("."))
            if not isinstance(key, yaml.ScalarNode):
                self._reading.complain(Spot(place.line, path), "a key must be text")
            elif key.tag == f"{_TAG}merge":
                self._reading.complain(place, _NO_MERGE)
            elif key.value in lines:
                first = lines[key.value]
                self._reading.complain(place, f"duplicate key, first on line {first}: keep one")
            else:
                lines[key.value] = place.line
                yield key.value, self.convert(value, place.line, place.path)
