"""The record: durable, private, shared by many short processes, with clear errors."""

from __future__ import annotations

import inspect
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deployctl.errors import StoreError, UsageError
from deployctl.store import deployments, queue
from deployctl.store.database import Database, prepare_state_dir
from deployctl.store.schema import MIGRATIONS
from deployctl.system.trust import account_name
from tests.support.paths import ROOT

NOBODY = 65534


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def enqueue(db: Database, repo: str = "blog") -> int:
    with db.writing() as connection:
        return queue.enqueue(connection, repo=repo, trigger="cli", actor="ada", now=1.0)


def count(db: Database) -> int:
    return int(db.connection.execute("SELECT count(*) FROM deployments").fetchone()[0])


def program(state: str, body: str) -> list[str]:
    """Return a command that runs Python code, with ``db`` open for writing and ``enqueue``."""
    head = f"""
import os, resource, signal, sqlite3, sys
from deployctl.errors import StoreError
from deployctl.store import queue
from deployctl.store.database import Database
db = Database({state!r})
""" + "".join(map(inspect.getsource, (enqueue, count)))
    return [sys.executable, "-c", head + body]


def run(state: str, body: str) -> str:
    done = subprocess.run(
        program(state, body), cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout


def modes(directory: str) -> dict[str, int]:
    paths = [Path(directory), *Path(directory).rglob("*")]
    return {str(path.relative_to(directory)): path.stat().st_mode & 0o777 for path in paths}


def complaint_of(kind: type[Exception], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# opening for writing


def test_every_connection_has_the_most_durable_settings(state: str) -> None:
    for read_only in (False, True):
        with Database(state, read_only=read_only) as db:
            assert db.connection.execute("PRAGMA synchronous").fetchone()[0] == 3
            assert db.connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


def test_a_record_in_another_journal_mode_is_set_back_when_it_is_opened(state: str) -> None:
    Database(state).close()
    other = sqlite3.connect(f"{state}/deployctl.db")
    assert other.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal"
    other.close()
    with Database(state) as db:
        assert db.connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_all_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    state = str(tmp_path / "not" / "there" / "yet")
    before = os.umask(umask)
    try:
        with Database(state) as db:
            enqueue(db)
    finally:
        os.umask(before)
    assert modes(state) == {
        ".": 0o700,
        "deployctl.db": 0o600,
        "locks": 0o700,
        "locks/store.lock": 0o600,
        "logs": 0o700,
        "mirrors": 0o700,
    }


def test_an_existing_state_directory_is_made_private(state: str) -> None:
    os.mkdir(state)
    os.chmod(state, 0o755)
    Database(state).close()
    assert os.stat(state).st_mode & 0o777 == 0o700


def test_each_state_directory_has_an_identity_that_never_changes(tmp_path: Path) -> None:
    identities = []
    for name in ("a", "b", "a"):
        with Database(str(tmp_path / name)) as db:
            identities.append(db.identity)
    assert identities[0] == identities[2] != identities[1]
    assert all(len(identity) == 16 and int(identity, 16) >= 0 for identity in identities)


@pytest.mark.parametrize("name", ["a b", "50%41", "what?", "#1", "ü", "'quote\""])
def test_the_name_of_a_state_directory_may_hold_special_characters(
    tmp_path: Path, name: str
) -> None:
    state = str(tmp_path / name)
    with Database(state) as db:
        enqueue(db)
    with Database(state, read_only=True) as db:
        assert count(db) == 1
    assert os.listdir(tmp_path) == [name]


def test_opening_a_record_does_not_drop_the_locks_of_another_connection(state: str) -> None:
    """A process that closes a file loses all its POSIX locks on it, also those of other opens."""
    with Database(state) as db, db.writing():
        for read_only in (True, False):
            Database(state, read_only=read_only).close()
        held = run(
            state.replace("state", "other"),
            f"other = sqlite3.connect({state + '/deployctl.db'!r}, timeout=0)\n"
            "try:\n    other.execute('BEGIN IMMEDIATE')\n"
            "except sqlite3.OperationalError as error:\n    print(error)\n",
        )
    assert held == "database is locked\n"


# opening to read only


@pytest.mark.parametrize("existing", ["nothing", "directory", "empty file"])
def test_reading_creates_no_file(state: str, existing: str) -> None:
    if existing != "nothing":
        os.mkdir(state)
    if existing == "empty file":
        Path(state, "deployctl.db").touch()
    before = modes(state) if existing != "nothing" else {}
    with Database(state, read_only=True) as db:
        assert count(db) == 0
        assert len(db.identity) == 16
    assert os.path.exists(state) == (existing != "nothing")
    assert (modes(state) if before else {}) == before


def test_a_connection_for_reading_cannot_write(state: str) -> None:
    Database(state).close()
    with Database(state, read_only=True) as db:
        assert complaint_of(StoreError, lambda: enqueue(db)) == (
            "cannot write the record: attempt to write a readonly database; is the disk full?"
        )


KILLED_WHILE_WRITING = """
db.connection.execute("PRAGMA cache_size = 1")
db.connection.execute("BEGIN IMMEDIATE")
for number in range(2000):
    db.connection.execute("INSERT INTO locks VALUES (?, 'x', 1, ?)", (str(number), "y" * 500))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_reading_after_a_crash_finds_only_what_was_committed(state: str) -> None:
    with Database(state) as db:
        enqueue(db)
    subprocess.run(program(state, KILLED_WHILE_WRITING), cwd=ROOT, check=False)
    assert os.path.exists(f"{state}/deployctl.db-journal")
    with Database(state, read_only=True) as db:
        assert count(db) == 1
        assert db.connection.execute("SELECT count(*) FROM locks").fetchone()[0] == 0
    with Database(state) as db:
        assert enqueue(db) == 2


# refusing to open


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(("uid", "name"), [(NOBODY, "nobody"), (54321, "#54321")])
def test_the_state_of_another_account_is_refused(
    state: str, read_only: bool, uid: int, name: str
) -> None:
    Database(state).close()
    os.chown(state, uid, -1)
    assert complaint_of(UsageError, lambda: Database(state, read_only=read_only)) == (
        f"{state} belongs to {name} and this is {account_name(0)}: run it as {name}"
    )


@pytest.mark.parametrize("read_only", [False, True])
def test_a_record_of_a_newer_version_is_refused(state: str, read_only: bool) -> None:
    with Database(state) as db:
        db.connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    assert complaint_of(StoreError, lambda: Database(state, read_only=read_only)) == (
        f"{state}/deployctl.db was written by a newer deployctl: install that version here too"
    )


@pytest.mark.parametrize("read_only", [False, True])
def test_a_record_of_an_older_version_is_brought_up_to_date(state: str, read_only: bool) -> None:
    Database(state).close()
    os.unlink(f"{state}/deployctl.db")
    with closing(sqlite3.connect(f"{state}/deployctl.db")) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.executescript("PRAGMA user_version = 1")
    os.chmod(f"{state}/deployctl.db", 0o600)
    with Database(state, read_only=read_only) as db:
        assert db.connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
        assert deployments.history(db, None, 1) == []


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused_and_not_changed(state: str, read_only: bool) -> None:
    os.mkdir(state)
    path = Path(state, "deployctl.db")
    path.write_text("garbage\n" * 1000)
    assert complaint_of(StoreError, lambda: Database(state, read_only=read_only)) == (
        f"cannot open the record: {path}: file is not a database; "
        "state_dir in repos.yml says where it is"
    )
    assert path.read_text() == "garbage\n" * 1000


def test_a_record_with_damaged_pages_raises_a_store_error(state: str) -> None:
    with Database(state) as db:
        page = db.connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'deployments'"
        ).fetchone()[0]
    with open(f"{state}/deployctl.db", "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    with Database(state) as db:
        assert complaint_of(StoreError, lambda: enqueue(db)) == (
            "cannot write the record: database disk image is malformed; "
            "put a copy from your backup in the place of deployctl.db"
        )


def test_the_error_names_a_state_directory_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert complaint_of(StoreError, lambda: Database(str(tmp_path / "file"))) == (
        f"cannot open the record: {tmp_path}/file/locks: Not a directory; "
        "state_dir in repos.yml says where it is"
    )


# writing


def test_a_transaction_that_raises_is_rolled_back(state: str) -> None:
    with Database(state) as db:
        for error in (ZeroDivisionError, KeyboardInterrupt):
            with pytest.raises(error), db.writing() as connection:
                queue.enqueue(connection, repo="blog", trigger="cli", actor="ada", now=1.0)
                raise error
            assert count(db) == 0
        assert enqueue(db) == 1


def test_a_wrong_statement_is_not_reported_as_a_full_disk(state: str) -> None:
    with Database(state) as db:
        with pytest.raises(sqlite3.IntegrityError), db.writing() as connection:
            connection.execute("INSERT INTO locks VALUES (NULL, NULL, NULL, NULL)")
        with pytest.raises(sqlite3.ProgrammingError), db.writing() as connection:
            connection.execute("SELECT ?", ())
        assert enqueue(db) == 1


def test_a_lock_of_another_process_is_reported_after_the_busy_timeout(state: str) -> None:
    Database(state).close()
    other = sqlite3.connect(f"{state}/deployctl.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError) as caught:
        Database(state, busy_timeout=0.1)
    assert str(caught.value) == (
        f"cannot open the record: {state}/deployctl.db: database is locked; "
        "state_dir in repos.yml says where it is"
    )
    other.execute("COMMIT")
    with Database(state, busy_timeout=0.1) as db:
        other.execute("BEGIN IMMEDIATE")
        assert complaint_of(StoreError, lambda: enqueue(db)) == (
            "cannot write the record: database is locked; another process keeps it"
        )
        other.execute("COMMIT")
        assert enqueue(db) == 1
    other.close()


WRITING_TO_A_FULL_DISK = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
enqueue(db)
size = os.path.getsize(db.state_dir + "/deployctl.db")
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
try:
    enqueue(db, "x" * 100_000)
except StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(enqueue(db), count(db))
"""


def test_a_full_disk_is_reported_and_the_next_write_succeeds(state: str) -> None:
    message, _, after = run(state, WRITING_TO_A_FULL_DISK).partition("\n")
    assert message in {
        "cannot write the record: disk I/O error; is the disk full?",
        "cannot write the record: database or disk is full; is the disk full?",
    }
    assert after == "2 2\n"


FOUR_WRITES = """
import time
for number in range(4):
    enqueue(db, f"{os.getpid()}-{number}")
"""


def test_many_processes_may_write_at_once_and_nothing_is_lost(state: str) -> None:
    processes = [
        subprocess.Popen(program(state, FOUR_WRITES), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(50)
    ]
    assert [process.communicate()[1] for process in processes] == [""] * 50
    with Database(state, read_only=True) as db:
        rows = db.connection.execute("SELECT count(DISTINCT repo), max(number) FROM deployments")
        assert tuple(rows.fetchone()) == (200, 200)


def test_preparing_a_prepared_state_directory_changes_nothing(state: str) -> None:
    prepare_state_dir(state)
    Path(state, "mirrors", "blog.git").mkdir()
    before = modes(state)
    prepare_state_dir(state)
    assert modes(state) == before
