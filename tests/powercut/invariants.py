"""What must be true after a power cut, before anything has been repaired and after that."""

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
    world: World, acknowledged: Collection[str], allowed: Collection[str], *, told: bool
) -> list[str]:
    """P1 and P4: what was answered 2xx is stored, and what is live is whole.

    ``allowed`` are the revisions that may be live (an empty one: none is); in place the way from
    one to the other is long, so that the files say something only where the end was ``told``.
    """
    found = [*_record(world, acknowledged)]
    if world.strategy == "releases" or told:
        found += _live(world, allowed)
    return found


def after_the_repair(world: World, allowed: Collection[str]) -> list[str]:
    """Everything has come to its end, what is live is whole, and nothing is left lying about."""
    with world.record() as db:
        found = [f"#{number} is still open" for (number,) in db.execute(OPEN)]
    found += [*_record(world, ()), *_live(world, allowed), *_repositories(world)]
    return [*found, *_leftovers(world)]


def history(world: World) -> list[str]:
    """What the record says of the last deployments, to tell how it came."""
    with world.record() as db:
        return [" ".join(map(str, row)) for row in db.execute(HISTORY)]


def changes_of_another_run(world: World) -> list[str]:
    before = world.snapshot()
    ran = world.deployctl("run")["deployments"]
    after = world.snapshot()
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    said = [f"another run ran {ran}"] if ran else []
    return said + ([f"another run changed {changed[:5]}"] if changed else [])


def _record(world: World, acknowledged: Collection[str]) -> list[str]:
    if not (world.state / "deployctl.db").exists():
        return [f"LOST: {number} and the whole record" for number in acknowledged]
    with world.record() as db:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            return [f"LOST: {number} and all tables" for number in acknowledged]
        said = [row[0] for row in db.execute("PRAGMA integrity_check")]
        lost = [each for each in acknowledged if not db.execute(STORED, (each,)).fetchone()]
    found = [] if said == ["ok"] else [f"integrity_check: {said}"]
    return found + [f"LOST: delivery {number} was answered 202" for number in lost]


def _live(world: World, allowed: Collection[str]) -> list[str]:
    found = _release(world) if world.strategy == "releases" else _head(world)
    if isinstance(found, str):
        return [found]
    revision, directory = found
    if revision not in allowed:
        return [f"NOT LIVE: {revision[:12] or 'nothing'} is, and not one of {[*allowed]}"]
    return _differences(_wanted(world, revision), on_disk(directory)) if revision else []


def _release(world: World) -> tuple[str, Path] | str:
    """The revision that ``current`` names and where it is, or what is wrong."""
    current = world.path / "current"
    if not current.is_symlink():
        return ("", current)
    directory = current.resolve()
    if not (directory / ".complete").exists():
        return f"{os.readlink(current)} is live and not complete"
    revision = (directory / "REVISION").read_text().strip()
    return (revision, directory) if revision else "BROKEN: REVISION is empty"


def _head(world: World) -> tuple[str, Path] | str:
    if not (world.path / ".git").exists():
        return ("", world.path)
    try:
        return git(world.path, "rev-parse", "HEAD"), world.path
    except AssertionError as error:
        return str(error)


def _wanted(world: World, revision: str) -> Tree:
    """In place an earlier revision finds what the stages made of a later one."""
    tree = world.tree(revision)
    if world.strategy == "in_place" and revision != world.revisions[-1]:
        return {name: each for name, each in tree.items() if not name.startswith("built/")}
    return tree


def _differences(wanted: Tree, there: Tree) -> list[str]:
    ours = ("REVISION", ".complete")
    wrong = sorted(name for name in wanted if there.get(name) != wanted[name])
    extra = sorted(
        name for name in there if name not in wanted and name not in ours and name[:6] != "built/"
    )
    found = [f"BROKEN: {len(wrong)} files are not the commit's: {wrong[:3]}"] if wrong else []
    return found + ([f"files of no commit: {extra[:3]}"] if extra else [])


def _repositories(world: World) -> list[str]:
    places = [*(world.state / "mirrors").glob("*.git")]
    if world.strategy == "in_place":
        places.append(world.path / ".git")
    found = []
    for place in filter(Path.is_dir, places):
        done = subprocess.run(
            ["git", f"--git-dir={place}", "fsck", "--full", "--no-dangling"],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            found.append(f"git fsck of {place.name}: {done.stderr.strip()}")
    return found


def _leftovers(world: World) -> list[str]:
    with world.record() as db:
        known = {name for (name,) in db.execute(KNOWN)}
    releases = {path.name for path in (world.path / "releases").glob("*")}
    places = [*world.path.glob(".current.new"), *world.path.glob(".git/*.lock")]
    found = [f"{place.name} is left" for place in places]
    return found + [f"a release that no record knows is left: {name}" for name in releases - known]
