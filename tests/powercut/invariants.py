"""Check the invariants after a power cut: before the repair and after it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection
from pathlib import Path

from tests.powercut.world import Tree, World, on_disk
from tests.support.upstream import git

OPEN = "SELECT number FROM deployments WHERE status IN ('queued', 'running')"
KNOWN = "SELECT name FROM releases WHERE name IS NOT NULL"
HISTORY = """
    SELECT number, task, status, phase, attempts, reason, failure FROM deployments
    ORDER BY number DESC LIMIT 5
"""
STORED = "SELECT 1 FROM deliveries JOIN deployments ON number = deployment WHERE forge_id = ?"


def after_the_cut(
    world: World, acknowledged: Collection[str], allowed: Collection[str], *, reported: bool
) -> list[str]:
    """Return violations of P1 and P4: a delivery that is lost, a live release that is not complete.

    ``acknowledged`` are ids of deliveries. ``allowed`` are the revisions that may be live; an empty
    one stands for none. In place the switch takes long, so the files are compared only if the end
    of the deployment was ``reported``.
    """
    found = [*_check_record(world, acknowledged)]
    if world.strategy == "releases" or reported:
        found += _check_live(world, allowed)
    return found


def after_the_repair(world: World, allowed: Collection[str]) -> list[str]:
    """Return violations after the repair: open deployments, wrong live files, and leftovers."""
    with world.record() as db:
        found = [f"#{number} is still open" for (number,) in db.execute(OPEN)]
    found += [*_check_record(world, ()), *_check_live(world, allowed)]
    found += _check_repositories(world)
    return [*found, *_leftovers(world)]


def history(world: World) -> list[str]:
    """Return the last five deployments of the record, one line each, to explain a violation."""
    with world.record() as db:
        return [" ".join(map(str, row)) for row in db.execute(HISTORY)]


def changes_of_another_run(world: World) -> list[str]:
    """Run ``deployctl run`` once more; return violations: it must find nothing to do."""
    before = world.snapshot()
    ran = world.deployctl("run")["deployments"]
    after = world.snapshot()
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    found = [f"another run ran {ran}"] if ran else []
    return found + ([f"another run changed {changed[:5]}"] if changed else [])


def _check_record(world: World, acknowledged: Collection[str]) -> list[str]:
    if not (world.state / "deployctl.db").exists():
        return [f"LOST: {number} and the whole record" for number in acknowledged]
    with world.record() as db:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            return [f"LOST: {number} and all tables" for number in acknowledged]
        integrity = [row[0] for row in db.execute("PRAGMA integrity_check")]
        lost = [id_ for id_ in acknowledged if not db.execute(STORED, (id_,)).fetchone()]
    found = [] if integrity == ["ok"] else [f"integrity_check: {integrity}"]
    return found + [f"LOST: delivery {number} was answered 202" for number in lost]


def _check_live(world: World, allowed: Collection[str]) -> list[str]:
    found = _release(world) if world.strategy == "releases" else _head(world)
    if isinstance(found, str):
        return [found]
    revision, directory = found
    if revision not in allowed:
        return [f"NOT LIVE: {revision[:12] or 'nothing'} is, and not one of {[*allowed]}"]
    return _differences(_wanted(world, revision), on_disk(directory)) if revision else []


def _release(world: World) -> tuple[str, Path] | str:
    """Return revision and directory of the live release, or the violation.

    An empty revision means that no release is live.
    """
    current = world.path / "current"
    if not current.is_symlink():
        return ("", current)
    directory = current.resolve()
    if not (directory / ".complete").exists():
        return f"{os.readlink(current)} is live and not complete"
    revision = (directory / "REVISION").read_text().strip()
    return (revision, directory) if revision else "BROKEN: REVISION is empty"


def _head(world: World) -> tuple[str, Path] | str:
    """Return the same as _release, for a checkout in place."""
    if not (world.path / ".git").exists():
        return ("", world.path)
    try:
        return git(world.path, "rev-parse", "HEAD"), world.path
    except AssertionError as error:
        return str(error)


def _wanted(world: World, revision: str) -> Tree:
    """Return the files that must be on disk where this revision is live.

    In place, after a rollback, the files in ``built`` may be those of the newest revision: they are
    left out.
    """
    tree = world.tree(revision)
    if world.strategy == "in_place" and revision != world.revisions[-1]:
        return {name: entry for name, entry in tree.items() if not name.startswith("built/")}
    return tree


def _differences(wanted: Tree, found_files: Tree) -> list[str]:
    own = ("REVISION", ".complete")
    wrong = sorted(name for name in wanted if found_files.get(name) != wanted[name])
    extra = sorted(
        name
        for name in found_files
        if name not in wanted and name not in own and name[:6] != "built/"
    )
    found = [f"BROKEN: {len(wrong)} files differ from the commit: {wrong[:3]}"] if wrong else []
    return found + ([f"files that are not in the commit: {extra[:3]}"] if extra else [])


def _check_repositories(world: World) -> list[str]:
    repositories = [*(world.state / "mirrors").glob("*.git")]
    if world.strategy == "in_place":
        repositories.append(world.path / ".git")
    found = []
    for repository in filter(Path.is_dir, repositories):
        done = subprocess.run(
            ["git", f"--git-dir={repository}", "fsck", "--full", "--no-dangling"],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            found.append(f"git fsck of {repository.name}: {done.stderr.strip()}")
    return found


def _leftovers(world: World) -> list[str]:
    with world.record() as db:
        known = {name for (name,) in db.execute(KNOWN)}
    releases = {path.name for path in (world.path / "releases").glob("*")}
    paths = [*world.path.glob(".current.new"), *world.path.glob(".git/*.lock")]
    found = [f"{path.name} is left" for path in paths]
    return found + [
        f"a release that is not in the record is left: {name}" for name in releases - known
    ]
