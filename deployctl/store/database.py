"""The one connection helper: durable, fair between many short processes, ours alone.

Why these settings: with a rollback journal SQLite's default ``synchronous=FULL`` can lose the last
commit in a power cut, because the removal of the journal is not synced; EXTRA syncs it
(https://www.sqlite.org/pragma.html#pragma_synchronous). A transaction that begins by reading and
then writes fails at once when another writer came in between, whatever the timeout, hence BEGIN
IMMEDIATE. SQLite's waiting is unfair under load, hence the flock around each write.
"""

from __future__ import annotations

import fcntl
import os
import stat

from deployctl.errors import ConfigError, ForeignError, StoreError
from deployctl.store.schema import STEPS
from deployctl.system.durable import sync
from deployctl.system.lean import sqlite3
from deployctl.system.mounts import unsafe_mount
from deployctl.system.trust import account_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

FILE = "deployctl.db"
# The file's fault; what is wrong with a statement or a value has an error of its own.
_STORAGE_ERRORS = (sqlite3.OperationalError, sqlite3.DatabaseError)
_ADVICE = (
    ("locked", "another process keeps it"),
    ("malformed", f"put a copy from your backup in the place of {FILE}"),
)


class Database:
    """An open connection to ``state_dir/deployctl.db``; ``with db.writing():`` to change it."""

    def __init__(
        self, state_dir: str, *, read_only: bool = False, busy_timeout: float = 30.0
    ) -> None:
        self.state_dir = state_dir
        self._path = os.path.join(state_dir, FILE)
        self._door: int | None = None
        try:
            if read_only:
                self.connection = self._open_for_reading(busy_timeout)
            else:
                self._make_files()
                self.connection = _connect(self._path, busy_timeout)
                if _asked(self.connection, "journal_mode") != "delete":
                    _set(self.connection, "journal_mode", "delete")
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
        self._door = _private_file(os.path.join(self.state_dir, "locks", "store.lock"))
        # Closing a file that this process has open through SQLite as well would drop its locks
        # (https://www.sqlite.org/howtocorrupt.html, 2.2), so only a new one is opened here.
        if not os.path.exists(self._path):
            os.close(_private_file(self._path))

    def _open_for_reading(self, busy_timeout: float) -> sqlite3.Connection:
        """Questions leave no trace: without a record yet, they are asked of an empty one.

        Not with ``mode=ro``, which could not undo what a killed process had half written.
        """
        if os.path.isdir(self.state_dir):
            check_owner(self.state_dir)
        if os.path.exists(self._path):
            connection = _connect(self._path, busy_timeout)
            if 0 < _version(connection) < len(STEPS):  # of an older version: what it lacks is asked
                connection.close()
                Database(self.state_dir, busy_timeout=busy_timeout).close()
                connection = _connect(self._path, busy_timeout)
            if _version(connection) > 0:
                connection.execute("PRAGMA query_only = ON")
                return connection
            connection.close()
        connection = _connect(":memory:", busy_timeout)
        for step in STEPS:
            connection.executescript(step)
        return connection

    def _bring_up_to_date(self) -> None:
        if _version(self.connection) == len(STEPS):
            return
        with self.writing():
            for number in range(_version(self.connection), len(STEPS)):
                for statement in STEPS[number].split(";"):
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {number + 1}")

    def writing(self) -> _Transaction:
        """A write transaction: committed when the block ends, undone when it raises."""
        return _Transaction(self.connection, self._door)

    def write(self, change: Callable[[sqlite3.Connection], T], *, urgent: bool = False) -> T:
        """A write transaction in one go -> what ``change`` returns.

        What is ``urgent`` is worth the reserve where the disk is full; it may so be done twice.
        """
        try:
            with self.writing() as connection:
                return change(connection)
        except StoreError:
            from deployctl.store.reserve import give_up

            if not urgent or not give_up(self.state_dir):
                raise
        with self.writing() as connection:
            return change(connection)

    def close(self) -> None:
        self.connection.close()
        if self._door is not None:
            os.close(self._door)
            self._door = None

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def identity(self) -> str:
        """Tells this state directory from any other on the machine: 16 hexadecimal digits."""
        row = self.connection.execute("SELECT id FROM identity").fetchone()
        return str(row[0])


class _Transaction:
    def __init__(self, connection: sqlite3.Connection, door: int | None) -> None:
        self._connection = connection
        self._door = door

    def __enter__(self) -> sqlite3.Connection:
        try:
            if self._door is not None:
                fcntl.flock(self._door, fcntl.LOCK_EX)
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self._leave()
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
            self._leave()

    def _leave(self) -> None:
        """A full disk ends the transaction by itself; to undo it once more would be an error."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            if self._door is not None:
                fcntl.flock(self._door, fcntl.LOCK_UN)


def prepare_state_dir(state_dir: str) -> None:
    """Make the state directory and its parts, 0700 whatever the umask.

    :class:`ForeignError` where it is another account's, :class:`ConfigError` where no lock holds.
    """
    parent = os.path.dirname(state_dir)
    if not os.path.isdir(parent):
        _make_directory(parent, 0o755)
    _refuse_network(state_dir)
    for directory in ("", "locks", "logs", "mirrors"):
        path = os.path.join(state_dir, directory).rstrip("/")
        if not _make_directory(path, 0o700) and not directory:
            check_owner(state_dir)
        if stat.S_IMODE(os.stat(path).st_mode) != 0o700:
            os.chmod(path, 0o700)


def _make_directory(path: str, mode: int) -> bool:
    """Make it and its parents -> whether it was made. What is in it lasts as long as its name."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return False
    except FileNotFoundError:
        _make_directory(os.path.dirname(path), 0o755)
        return _make_directory(path, mode)
    try:
        sync(os.path.dirname(path))
    except PermissionError:  # it may be entered and not listed: left to the file system
        return True
    return True


def check_owner(state_dir: str) -> None:
    """One account owns the state: another one's files in it would lock the owner out."""
    uid, me = os.stat(state_dir).st_uid, os.geteuid()
    if uid != me:
        owner = account_name(uid)
        raise ForeignError(
            f"{state_dir} belongs to {owner} and this is {account_name(me)}: run it as {owner}",
            owner,
        )


def _refuse_network(state_dir: str) -> None:
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
    """A connection as it must be, to an existing file that no newer deployctl has written."""
    connection = sqlite3.connect(
        path if path == ":memory:" else f"file:{_quoted(path)}?mode=rw",
        timeout=busy_timeout,
        isolation_level=None,
        uri=True,
    )
    try:
        connection.row_factory = sqlite3.Row
        _set(connection, "synchronous", "extra")
        if _version(connection) > len(STEPS):
            raise StoreError(
                f"{path} was written by a newer deployctl: install that version here too"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _set(connection: sqlite3.Connection, pragma: str, value: str) -> None:
    """Set and read back: SQLite ignores what it does not know."""
    connection.execute(f"PRAGMA {pragma} = {value}")
    found = _asked(connection, pragma)
    if found != {"extra": 3}.get(value, value):
        raise sqlite3.OperationalError(f"{pragma} is {found} and cannot be set to {value}")


def _asked(connection: sqlite3.Connection, pragma: str) -> Any:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


def _version(connection: sqlite3.Connection) -> int:
    return int(_asked(connection, "user_version"))


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _cannot_write(error: sqlite3.Error) -> str:
    advice = next((advice for mark, advice in _ADVICE if mark in str(error)), "is the disk full?")
    return f"cannot write the record: {error}; {advice}"
