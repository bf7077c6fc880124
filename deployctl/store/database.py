"""Open and write the record, the SQLite file that many short processes share.

Reasons for the settings: with a rollback journal SQLite's default ``synchronous=FULL`` can lose
the last commit in a power cut, because the removal of the journal is not synced; EXTRA syncs it
(https://www.sqlite.org/pragma.html#pragma_synchronous). A transaction that begins by reading and
then writes fails at once when another writer came in between, whatever the timeout, hence BEGIN
IMMEDIATE. Writers that wait for SQLite's own lock do not get it in the order in which they came,
which is unfair under load, hence the flock around each write.
"""

from __future__ import annotations

import fcntl
import os
import stat

from deployctl.errors import ConfigError, ForeignError, StoreError
from deployctl.store.schema import MIGRATIONS
from deployctl.system.durable import sync
from deployctl.system.fast_imports import sqlite3
from deployctl.system.mounts import unsafe_mount
from deployctl.system.trust import account_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

FILE = "deployctl.db"
# Errors of the file or the disk. A wrong statement or value raises another class of error.
_STORAGE_ERRORS = (sqlite3.OperationalError, sqlite3.DatabaseError)
# Part of SQLite's error text, and the advice that is added to it.
_ADVICE = (
    ("locked", "another process keeps it"),
    ("malformed", f"put a copy from your backup in the place of {FILE}"),
)


class Database:
    """An open connection to the record, ``state_dir/deployctl.db``.

    ``busy_timeout`` is how many seconds SQLite waits for another process's lock. With
    ``read_only`` nothing can be written, and no file is created; else the state directory and the
    file are created if they are missing. Changes are made within ``with db.writing():``.

    Raises :class:`StoreError` if the record cannot be opened or a newer version wrote it,
    :class:`ForeignError` if the state directory belongs to another account, and
    :class:`ConfigError` if it is on a file system whose locks do not work.
    """

    def __init__(
        self, state_dir: str, *, read_only: bool = False, busy_timeout: float = 30.0
    ) -> None:
        self.state_dir = state_dir
        self._path = os.path.join(state_dir, FILE)
        self._write_lock: int | None = None
        try:
            if read_only:
                self.connection = self._open_for_reading(busy_timeout)
            else:
                self._make_files()
                self.connection = _connect(self._path, busy_timeout)
                if _read_pragma(self.connection, "journal_mode") != "delete":
                    _set_pragma(self.connection, "journal_mode", "delete")
                self._bring_up_to_date()
        except (OSError, sqlite3.Error) as error:
            place = getattr(error, "filename", None) or self._path
            reason = getattr(error, "strerror", None) or str(error)
            raise StoreError(
                f"cannot open the record: {place}: {reason}; "
                "state_dir in repos.yml says where it is"
            ) from error

    def _make_files(self) -> None:
        prepare_state_dir(self.state_dir)
        self._write_lock = _private_file(os.path.join(self.state_dir, "locks", "store.lock"))
        # Closing a file that this process has open through SQLite as well would drop its locks
        # (https://www.sqlite.org/howtocorrupt.html, 2.2), so a file that exists is not opened here.
        if not os.path.exists(self._path):
            os.close(_private_file(self._path))

    def _open_for_reading(self, busy_timeout: float) -> sqlite3.Connection:
        """Open the record for queries; without a record yet, an empty one in memory.

        ``mode=ro`` is not used: it could not roll back the unfinished transaction that a killed
        process has left. ``PRAGMA query_only`` prevents writing instead.
        """
        if os.path.isdir(self.state_dir):
            check_owner(self.state_dir)
        if os.path.exists(self._path):
            connection = _connect(self._path, busy_timeout)
            # An older version has written it: the queries need its missing tables and columns.
            if 0 < _schema_version(connection) < len(MIGRATIONS):
                connection.close()
                Database(self.state_dir, busy_timeout=busy_timeout).close()
                connection = _connect(self._path, busy_timeout)
            if _schema_version(connection) > 0:
                connection.execute("PRAGMA query_only = ON")
                return connection
            connection.close()
        connection = _connect(":memory:", busy_timeout)
        for migration in MIGRATIONS:
            connection.executescript(migration)
        return connection

    def _bring_up_to_date(self) -> None:
        """Create the tables that are missing, and change those of an older version."""
        if _schema_version(self.connection) == len(MIGRATIONS):
            return
        with self.writing():
            for number in range(_schema_version(self.connection), len(MIGRATIONS)):
                for statement in MIGRATIONS[number].split(";"):
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {number + 1}")

    def writing(self) -> _Transaction:
        """Return a context manager for one write transaction; it yields the connection.

        The transaction is committed when the block ends, and rolled back when it raises.
        :class:`StoreError` if the record cannot be written.
        """
        return _Transaction(self.connection, self._write_lock)

    def write(self, change: Callable[[sqlite3.Connection], T], *, urgent: bool = False) -> T:
        """Call ``change`` with the connection, in one write transaction; return its result.

        If an ``urgent`` change cannot be written, the reserve file is removed, as the disk may be
        full, and ``change`` is called a second time. :class:`StoreError` if that fails too.
        """
        try:
            with self.writing() as connection:
                return change(connection)
        except StoreError:
            from deployctl.store.reserve import remove_reserve

            if not urgent or not remove_reserve(self.state_dir):
                raise
        with self.writing() as connection:
            return change(connection)

    def close(self) -> None:
        self.connection.close()
        if self._write_lock is not None:
            os.close(self._write_lock)
            self._write_lock = None

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def identity(self) -> str:
        """The random id that this record was created with: 16 hexadecimal digits."""
        row = self.connection.execute("SELECT id FROM identity").fetchone()
        return str(row[0])


class _Transaction:
    """One write transaction, inside an exclusive flock on ``write_lock`` (a file descriptor).

    ``write_lock`` is None for a connection that only reads.
    """

    def __init__(self, connection: sqlite3.Connection, write_lock: int | None) -> None:
        self._connection = connection
        self._write_lock = write_lock

    def __enter__(self) -> sqlite3.Connection:
        try:
            if self._write_lock is not None:
                fcntl.flock(self._write_lock, fcntl.LOCK_EX)
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self._end()
            if isinstance(error, sqlite3.Error):
                raise StoreError(_cannot_write(error)) from error
            raise
        return self._connection

    def __exit__(
        self, _kind: type[BaseException] | None, raised: BaseException | None, _: object
    ) -> None:
        try:
            if raised is None:
                self._connection.execute("COMMIT")
            elif type(raised) in _STORAGE_ERRORS:
                raise raised
        except sqlite3.Error as error:
            raise StoreError(_cannot_write(error)) from error
        finally:
            self._end()

    def _end(self) -> None:
        """Roll back a transaction that is still open, and release the flock.

        SQLite rolls back by itself when the disk is full, and a second ROLLBACK would be an error.
        """
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            if self._write_lock is not None:
                fcntl.flock(self._write_lock, fcntl.LOCK_UN)


def prepare_state_dir(state_dir: str) -> None:
    """Create the state directory and its subdirectories, with mode 0700 whatever the umask.

    :class:`ForeignError` if it belongs to another account, :class:`ConfigError` if it is on a file
    system whose locks do not work.
    """
    parent = os.path.dirname(state_dir)
    if not os.path.isdir(parent):
        _make_directory(parent, 0o755)
    _refuse_unsafe_mount(state_dir)
    for directory in ("", "locks", "logs", "mirrors"):
        path = os.path.join(state_dir, directory).rstrip("/")
        if not _make_directory(path, 0o700) and not directory:
            check_owner(state_dir)
        if stat.S_IMODE(os.stat(path).st_mode) != 0o700:
            os.chmod(path, 0o700)


def _make_directory(path: str, mode: int) -> bool:
    """Create a directory and its parents; tell whether it was created, False if it existed.

    The parent directory is synced: otherwise a power cut could lose the directory's name, and with
    it the files in it that were synced.
    """
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return False
    except FileNotFoundError:
        _make_directory(os.path.dirname(path), 0o755)
        return _make_directory(path, mode)
    try:
        sync(os.path.dirname(path))
    except PermissionError:  # a parent with x but without r permission cannot be opened to sync it
        return True
    return True


def check_owner(state_dir: str) -> None:
    """Raise :class:`ForeignError` if a state directory belongs to another account.

    The directory must exist. Its owner could not open the private files that another account, such
    as root, creates in it.
    """
    uid, me = os.stat(state_dir).st_uid, os.geteuid()
    if uid != me:
        owner = account_name(uid)
        raise ForeignError(
            f"{state_dir} belongs to {owner} and this is {account_name(me)}: run it as {owner}",
            owner,
        )


def _refuse_unsafe_mount(state_dir: str) -> None:
    """Raise :class:`ConfigError` if the directory is on a file system whose locks do not work."""
    unsafe = unsafe_mount(state_dir if os.path.isdir(state_dir) else os.path.dirname(state_dir))
    if unsafe is not None:
        kind, point = unsafe
        raise ConfigError(
            f"{state_dir} is on {kind} (mounted at {point}), where locks cannot be relied on: "
            "set state_dir in repos.yml to a directory on a local disk"
        )


def _private_file(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _connect(path: str, busy_timeout: float) -> sqlite3.Connection:
    """Connect to an existing file, or to ``:memory:``, with durable commits.

    :class:`StoreError` if a newer deployctl has written the file.
    """
    connection = sqlite3.connect(
        path if path == ":memory:" else f"file:{_quoted_for_uri(path)}?mode=rw",
        timeout=busy_timeout,
        isolation_level=None,
        uri=True,
    )
    try:
        connection.row_factory = sqlite3.Row
        _set_pragma(connection, "synchronous", "extra")
        if _schema_version(connection) > len(MIGRATIONS):
            raise StoreError(
                f"{path} was written by a newer deployctl: install that version here too"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _set_pragma(connection: sqlite3.Connection, pragma: str, value: str) -> None:
    """Set a pragma and read it back, as SQLite ignores unknown pragmas and values silently."""
    connection.execute(f"PRAGMA {pragma} = {value}")
    found = _read_pragma(connection, pragma)
    if found != {"extra": 3}.get(value, value):
        raise sqlite3.OperationalError(f"{pragma} is {found} and cannot be set to {value}")


def _read_pragma(connection: sqlite3.Connection, pragma: str) -> Any:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(_read_pragma(connection, "user_version"))


def _quoted_for_uri(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _cannot_write(error: sqlite3.Error) -> str:
    known = (advice for part, advice in _ADVICE if part in str(error))
    advice = next(known, "is the disk full?")
    return f"cannot write the record: {error}; {advice}"
