"""Checks of the paths inside a release that are shared between releases or cached."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from deployctl.config import json_schema_types
from deployctl.config.complaints import ComplaintError, Reading, printable
from deployctl.config.json_schema_types import shaped
from deployctl.config.readers import list_of, relative_path
from deployctl.config.yaml_tree import List, Node, Scalar
from deployctl.values.repo import COMPLETE, REVISION

# Every release has these files of deployctl.
RELEASE_FILES = (REVISION, COMPLETE)


@shaped(json_schema_types.RELATIVE_PATH)
def path_in_release(node: Node, reading: Reading) -> str:
    """Read a path inside a release, normalised: not the release itself, none of RELEASE_FILES."""
    value = relative_path(node, reading)
    if value.partition("/")[0] in (".", *RELEASE_FILES):
        raise ComplaintError(node, f"must not be the release itself, {' or '.join(RELEASE_FILES)}")
    return value


@shaped(json_schema_types.list_of(json_schema_types.RELATIVE_PATH))
def cache(node: Node, reading: Reading) -> tuple[str, ...]:
    """Read a list of directories to cache.

    None may be inside another one: it would be copied twice, the second time over the first copy.
    """
    paths = list_of(path_in_release)(node, reading)
    for item in _items(node):
        if isinstance(item, Scalar) and set(item.text) & {"*", "?", "["}:
            reading.complain(item, "no patterns here: name each directory")
    nodes = unique_paths(_items(node), "cached", reading)
    for path, item in nodes.items():
        for parent in parent_paths(path):
            if parent in nodes:
                reading.complain(
                    item, f"inside {printable(parent)}, which is a cache too: keep one"
                )
    return paths


def complain_about_shared_caches(node: Node, shared: Collection[str], reading: Reading) -> None:
    """Complain about caches that overlap shared paths.

    ``node`` is the value of ``cache``; ``shared`` are the paths that all releases share. In a
    release these are symlinks, so there is nothing to copy.
    """
    for path, item in unique_paths(_items(node), "cached", reading).items():
        if path in shared:
            reading.complain(item, "shared too (shared_dirs, shared_files): keep one of the two")
        for parent in parent_paths(path):
            if parent in shared:
                reading.complain(item, f"inside {printable(parent)}, which is shared: keep one")
        for other in shared:
            if path in parent_paths(other):
                reading.complain(item, f"{printable(other)} in it is shared: keep one of the two")


def unique_paths(nodes: Iterable[Node], verb: str, reading: Reading) -> dict[str, Node]:
    """Return the nodes by the paths in them, and complain about a path that is there twice.

    ``verb`` is for the complaint: ``shared`` or ``cached``.
    """
    found: dict[str, Node] = {}
    for item in nodes:
        path = reading.attempt(path_in_release, item)
        if path in found:
            reading.complain(item, f"{verb} twice, first on line {found[path].line}: keep one")
        elif path:
            found[path] = item
    return found


def _items(node: Node) -> tuple[Node, ...]:
    return node.items if isinstance(node, List) else ()


def parent_paths(path: str) -> Iterator[str]:
    """Yield the parent directories of a relative path: ``a/b/c`` -> ``a/b``, ``a``."""
    while path := path.rpartition("/")[0]:
        yield path
