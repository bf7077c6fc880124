"""What no value shows by itself: keys, paths and repos that get into each other's way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deployctl.config.complaints import Reading, shown
from deployctl.config.readers import mapping
from deployctl.config.release_paths import complain_about_shared, distinct, parents
from deployctl.config.schema import REPO_KEYS, TELLING_OF_CHECKS, Entry
from deployctl.config.yaml_tree import List, Node


def complain_about_conflicts(repos: Mapping[str, Entry], reading: Reading) -> None:
    """``repos``: every repo over the defaults, as far as it could be read."""
    for repo in repos.values():
        _missing_keys(repo, reading)
        _checks(repo, reading)
        _dir(repo, reading)
        _env_and_secrets(repo, reading)
        _shared_paths(repo, reading)
    _repo_paths(repos, reading)


def _missing_keys(repo: Entry, reading: Reading) -> None:
    for key in ("url", "path"):
        if key not in repo.node.entries:
            reading.complain(repo.node, f"missing key {key}: {REPO_KEYS[key].doc}")


def _checks(repo: Entry, reading: Reading) -> None:
    """Where nobody tells of checks, a deployment would wait for ever."""
    forge = repo.values.get("forge")
    if repo.values.get("on") == "ci_success" and forge not in (None, *TELLING_OF_CHECKS):
        known = ", ".join(TELLING_OF_CHECKS)
        reading.complain(
            repo.node.entries["on"], f"{forge} tells of no checks: only {known} do; use push"
        )


def _dir(repo: Entry, reading: Reading) -> None:
    """A checkout is one of the whole repository."""
    if repo.values.get("strategy") == "in_place" and repo.values.get("dir", ".") != ".":
        reading.complain(
            repo.node.entries["dir"],
            "in_place checks the whole repository out: remove dir, or use strategy: releases",
        )


def _env_and_secrets(repo: Entry, reading: Reading) -> None:
    for name in repo.values.get("env", {}).keys() & repo.values.get("secrets", {}).keys():
        node = mapping(repo.node.entries["secrets"]).entries[name]
        reading.complain(node, "stands under env too: keep one of the two")


def _shared_paths(repo: Entry, reading: Reading) -> None:
    """A link inside a linked directory, or a copy of one, would change what is shared, or fail."""
    places = distinct(_shared_nodes(repo), "shared", reading)
    for place, node in places.items():
        for parent in parents(place):
            if parent in places:
                reading.complain(node, f"inside {shown(parent)}, which is shared: keep one")
    if "cache" in repo.node.entries:
        complain_about_shared(repo.node.entries["cache"], places, reading)


def _shared_nodes(repo: Entry) -> Iterator[Node]:
    for key in ("shared_dirs", "shared_files"):
        node = repo.node.entries.get(key)
        if isinstance(node, List):
            yield from node.items


def _repo_paths(repos: Mapping[str, Entry], reading: Reading) -> None:
    owners: dict[str, str] = {}
    for name, repo in repos.items():
        place = repo.values.get("path")
        if place in owners:
            reading.complain(
                repo.node.entries["path"],
                f"repos.{owners[place]} and repos.{name} both deploy here: give each its own path",
            )
        elif place:
            owners[place] = name
    for place, name in owners.items():
        for outer in (owners[parent] for parent in parents(place) if parent in owners):
            if repos[outer].values.get("strategy", "releases") == "releases":
                reading.complain(
                    repos[name].node.entries["path"],
                    f"repos.{name} is inside the path of repos.{outer}: keep them apart",
                )
