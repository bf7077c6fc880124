"""Paths inside a release that repos.yml or a project names: what is shared, what is cached."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from deployctl.config import shapes
from deployctl.config.complaints import ComplaintError, Reading, shown
from deployctl.config.readers import inside, list_of
from deployctl.config.shapes import shaped
from deployctl.config.yaml_tree import List, Node, Scalar
from deployctl.values.repo import COMPLETE, REVISION

RELEASE_FILES = (REVISION, COMPLETE)


@shaped(shapes.INSIDE)
def place(node: Node, reading: Reading) -> str:
    """A path that may be replaced in every release; normalised."""
    found = inside(node, reading)
    if found.partition("/")[0] in (".", *RELEASE_FILES):
        raise ComplaintError(node, f"must not be the release itself, {' or '.join(RELEASE_FILES)}")
    return found


@shaped(shapes.list_of(shapes.INSIDE))
def cache(node: Node, reading: Reading) -> tuple[str, ...]:
    """Directories; one inside another would be copied over what was copied just before."""
    found = list_of(place)(node, reading)
    for item in _items(node):
        if isinstance(item, Scalar) and set(item.text) & {"*", "?", "["}:
            reading.complain(item, "no patterns here: name each directory")
    nodes = distinct(_items(node), "cached", reading)
    for path, item in nodes.items():
        for parent in parents(path):
            if parent in nodes:
                reading.complain(item, f"inside {shown(parent)}, which is a cache too: keep one")
    return found


def complain_about_shared(node: Node, shared: Collection[str], reading: Reading) -> None:
    """What all releases share is no release's own, so none can have a copy of it."""
    for path, item in distinct(_items(node), "cached", reading).items():
        if path in shared:
            reading.complain(item, "shared too (shared_dirs, shared_files): keep one of the two")
        for parent in parents(path):
            if parent in shared:
                reading.complain(item, f"inside {shown(parent)}, which is shared: keep one")
        for other in shared:
            if path in parents(other):
                reading.complain(item, f"{shown(other)} in it is shared: keep one of the two")


def distinct(nodes: Iterable[Node], done: str, reading: Reading) -> dict[str, Node]:
    """The paths that nodes name, each with its node; a second one is complained about."""
    found: dict[str, Node] = {}
    for item in nodes:
        path = reading.attempt(place, item)
        if path in found:
            reading.complain(item, f"{done} twice, first on line {found[path].line}: keep one")
        elif path:
            found[path] = item
    return found


def _items(node: Node) -> tuple[Node, ...]:
    return node.items if isinstance(node, List) else ()


def parents(path: str) -> Iterator[str]:
    """``a/b/c`` -> ``a/b``, ``a``."""
    while path := path.rpartition("/")[0]:
        yield path
