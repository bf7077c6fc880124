"""Checks of values that are valid by themselves, but not together with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deployctl.config.complaints import Reading, printable
from deployctl.config.readers import mapping
from deployctl.config.release_paths import complain_about_shared_caches, parent_paths, unique_paths
from deployctl.config.schema import FORGES_WITH_CHECKS, REPO_KEYS, RepoEntry
from deployctl.config.yaml_tree import List, Node


def complain_about_conflicts(repos: Mapping[str, RepoEntry], reading: Reading) -> None:
    """Complain about keys, paths and repos that exclude each other.

    ``repos`` are all repos by name, with the defaults filled in, as far as they could be read.
    """
    for repo in repos.values():
        _check_required_keys(repo, reading)
        _check_ci_support(repo, reading)
        _check_dir(repo, reading)
        _check_env_and_secrets(repo, reading)
        _check_shared_paths(repo, reading)
    _check_repo_paths(repos, reading)


def _check_required_keys(repo: RepoEntry, reading: Reading) -> None:
    for key in ("url", "path"):
        if key not in repo.node.entries:
            reading.complain(repo.node, f"missing key {key}: {REPO_KEYS[key].doc}")


def _check_ci_support(repo: RepoEntry, reading: Reading) -> None:
    """Complain about ``on: ci_success`` if the forge reports no checks: it would wait forever."""
    forge = repo.values.get("forge")
    if repo.values.get("on") == "ci_success" and forge not in (None, *FORGES_WITH_CHECKS):
        known = ", ".join(FORGES_WITH_CHECKS)
        reading.complain(
            repo.node.entries["on"], f"{forge} reports no checks: only {known} do; use push"
        )


def _check_dir(repo: RepoEntry, reading: Reading) -> None:
    """Complain about ``dir`` with ``in_place``: a git checkout has the whole repository."""
    if repo.values.get("strategy") == "in_place" and repo.values.get("dir", ".") != ".":
        reading.complain(
            repo.node.entries["dir"],
            "in_place checks the whole repository out: remove dir, or use strategy: releases",
        )


def _check_env_and_secrets(repo: RepoEntry, reading: Reading) -> None:
    for name in repo.values.get("env", {}).keys() & repo.values.get("secrets", {}).keys():
        node = mapping(repo.node.entries["secrets"]).entries[name]
        reading.complain(node, "stands under env too: keep one of the two")


def _check_shared_paths(repo: RepoEntry, reading: Reading) -> None:
    """Complain about shared paths inside another one, and about caches that overlap them.

    In a release, a shared path is a symlink. To put another symlink or a copy inside of it would
    change the shared directory itself, or fail.
    """
    shared = unique_paths(_shared_nodes(repo), "shared", reading)
    for path, node in shared.items():
        for parent in parent_paths(path):
            if parent in shared:
                reading.complain(node, f"inside {printable(parent)}, which is shared: keep one")
    if "cache" in repo.node.entries:
        complain_about_shared_caches(repo.node.entries["cache"], shared, reading)


def _shared_nodes(repo: RepoEntry) -> Iterator[Node]:
    for key in ("shared_dirs", "shared_files"):
        node = repo.node.entries.get(key)
        if isinstance(node, List):
            yield from node.items


def _check_repo_paths(repos: Mapping[str, RepoEntry], reading: Reading) -> None:
    """Complain about repos with the same path, or with one inside the releases of another."""
    names: dict[str, str] = {}  # path -> name of the repo
    for name, repo in repos.items():
        path = repo.values.get("path")
        if path in names:
            reading.complain(
                repo.node.entries["path"],
                f"repos.{names[path]} and repos.{name} both deploy here: give each its own path",
            )
        elif path:
            names[path] = name
    for path, name in names.items():
        for outer in (names[parent] for parent in parent_paths(path) if parent in names):
            if repos[outer].values.get("strategy", "releases") == "releases":
                reading.complain(
                    repos[name].node.entries["path"],
                    f"repos.{name} is inside the path of repos.{outer}: keep them apart",
                )
