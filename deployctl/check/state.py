"""Check the state directory: private, on a local disk with room, with an undamaged record."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import stat
from collections.abc import Iterator

from deployctl.check.finding import Finding, fail, ok, split_advice, warn
from deployctl.errors import StoreError
from deployctl.releases.disk_space import free_bytes, shortage
from deployctl.releases.layout.files import why_not_makeable
from deployctl.store import deployments, releases
from deployctl.store.database import FILE, Database
from deployctl.system import environment
from deployctl.system.mounts import MOUNTS, is_unsafe, mounted_at
from deployctl.system.process_tree import Identity, is_alive
from deployctl.values.repo import Config, Repo
from deployctl.values.text import MB, in_bytes

# With less free space than this there is a warning, or a failure.
WARN_BELOW = 500 * MB
FAIL_BELOW = 100 * MB


def state(config: Config) -> Iterator[Finding]:
    """Check that the state directory exists or can be made, and is closed to other accounts."""
    directory = config.state_dir
    if not os.path.isdir(directory):
        yield _missing_directory(directory)
        return
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    if mode & 0o077:
        what = f"{directory} is open to other accounts (mode {mode:04o})"
        level = fail if mode & 0o022 else warn
        yield level("state", what, f"chmod 700 {shlex.quote(directory)}")
    else:
        yield ok("state", directory)


def _missing_directory(directory: str) -> Finding:
    error = why_not_makeable(directory)
    if error is None:
        return ok("state", f"{directory} will be made by the first deployment")
    user = shlex.quote(environment.current_account().user)
    fix = f"sudo install -d -m 700 -o {user} {shlex.quote(directory)}"
    return fail("state", f"cannot create {directory}: {error.strerror}", fix)


def file_system(config: Config, mounts: str = MOUNTS) -> Iterator[Finding]:
    """Check that the state directory is on a local file system, where locks hold.

    ``mounts`` is a file in the format of /proc/self/mountinfo, see proc(5).
    """
    directory = os.path.realpath(config.state_dir)
    kind, point = mounted_at(directory, mounts)
    if is_unsafe(kind):
        what = f"{directory} is on {kind} (mounted at {point}), where locks cannot be relied on"
        yield fail("file_system", what, "set state_dir in repos.yml to a local disk's directory")
    else:
        yield ok("file_system", f"{kind}, mounted at {point}")


def disk(config: Config) -> Iterator[Finding]:
    """Check that there is room for the record, the logs and the mirrors."""
    yield _room(config.state_dir)


def repo_disk(config: Config, repo: Repo) -> Iterator[Finding]:
    """Check that there is room for one more release, as the next deployment will."""
    lack = shortage(config, repo, _last_size(config, repo))
    yield fail("disk", lack.what, lack.advice) if lack else _room(repo.path)


def _last_size(config: Config, repo: Repo) -> int | None:
    """Return the size of the last release in bytes; None where it is not known.

    A record that cannot be read is a finding of :func:`database`.
    """
    try:
        with Database(config.state_dir, read_only=True, busy_timeout=5.0) as db:
            return releases.newest_size(db, repo.name)
    except (StoreError, sqlite3.Error):
        return None


def _room(path: str) -> Finding:
    directory, free = free_bytes(path)
    if free >= WARN_BELOW:
        return ok("disk", f"{in_bytes(free)} free for {path}")
    level = fail if free < FAIL_BELOW else warn
    what = f"only {in_bytes(free)} free for {path}"
    return level("disk", what, f"free some: df -h {shlex.quote(directory)}")


def database(config: Config) -> Iterator[Finding]:
    """Check that the record is undamaged, and that no crash left a deployment unfinished."""
    path = os.path.join(config.state_dir, FILE)
    if not os.path.exists(path):
        yield ok("database", "no record yet: nothing was deployed")
        return
    try:
        with Database(config.state_dir, read_only=True, busy_timeout=5.0) as db:
            (first, *_) = (row[0] for row in db.connection.execute("PRAGMA quick_check"))
            if first == "ok":
                yield from _unfinished(db, config) or [ok("database", f"{path} is whole")]
            else:
                yield _damaged(path, str(first).splitlines()[-1])
    except StoreError as error:
        if _is_damage(error.__cause__):
            yield _damaged(path, str(error.__cause__))
        else:
            yield fail("database", *split_advice(str(error)))
    except sqlite3.DatabaseError as error:
        yield _damaged(path, str(error))


def _is_damage(cause: BaseException | None) -> bool:
    """Tell whether an error of SQLite means that the file is damaged.

    OperationalError has other causes (the file is locked, no permission).
    """
    return isinstance(cause, sqlite3.DatabaseError) and not isinstance(
        cause, sqlite3.OperationalError
    )


def _damaged(path: str, why: str) -> Finding:
    fix = (
        f"put a copy from your backup in its place; without one: mv {shlex.quote(path)} "
        f"{shlex.quote(path)}.damaged (what is live stays live, the history is lost)"
    )
    return fail("database", f"{path} is damaged: {why}", fix)


def _unfinished(db: Database, config: Config) -> list[Finding]:
    return [
        warn("database", f"a process that is gone left #{number} of {name} undone", "deployctl run")
        for name in config.repos
        if (number := _unfinished_number(db, name)) is not None
    ]


def _unfinished_number(db: Database, name: str) -> int | None:
    """Return the number of a running deployment whose process no longer exists, or None.

    The record is read twice: the process may have ended because the deployment just finished.
    """
    before = deployments.running(db, name)
    if before is None or _is_process_alive(deployments.runner_of(db, before.number)):
        return None
    now = deployments.running(db, name)
    return before.number if now and now.number == before.number else None


def _is_process_alive(runner: str | None) -> bool:
    """Tell whether the process of an :class:`Identity`, as JSON text, is running."""
    return runner is not None and is_alive(Identity(**json.loads(runner)))
