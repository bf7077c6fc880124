"""Collecting of complaints while a config file is read, and helpers to word them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import NamedTuple, NoReturn, Protocol, TypeVar

from deployctl.config.locate import resolve_path
from deployctl.errors import ConfigError

# A file of random data could get a million complaints; no person corrects more than these at once.
MAX_COMPLAINTS = 100

T = TypeVar("T")
P = TypeVar("P", bound="Located")


class Located(Protocol):
    """Anything with a line (from 1) and a dotted path in the file, such as a node of the tree."""

    @property
    def line(self) -> int: ...

    @property
    def path(self) -> str: ...


class Location(NamedTuple):
    """A line and a path without a node, for a syntax error or a duplicate key."""

    line: int
    path: str


class ComplaintError(Exception):
    """A fault in one value; a reader raises it, and :meth:`Reading.attempt` collects it.

    ``message`` says what was wanted. It never repeats the value, which may be a secret.
    """

    def __init__(self, location: Located, message: str) -> None:
        super().__init__(message)
        self.location = location
        self.message = message


class Reading:
    """The state of reading one config file: the complaints so far, and the defined names.

    ``names`` has, by section (``channels``, ``deployers``), the names that repos may use; None if
    that section cannot be read. The same complaint is kept once.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.directory = os.path.dirname(file)
        self.names: dict[str, Collection[str] | None] = {}
        self._complaints: dict[tuple[int, str, str], None] = {}

    def resolve(self, path: str) -> str:
        """Return an absolute path; ``path`` is relative to the directory of the file."""
        return resolve_path(path, self.directory)

    def complain(self, location: Located, message: str) -> None:
        """Add a complaint; raise :class:`ConfigError` with all of them if the limit is reached."""
        self._complaints[location.line, location.path, message] = None
        if len(self._complaints) >= MAX_COMPLAINTS:
            self.fail("more may follow: mend these first")

    def attempt(self, read: Callable[[P, Reading], T], node: P) -> T | None:
        """Return what ``read`` returns; if it raises ComplaintError, collect that, return None."""
        try:
            return read(node, self)
        except ComplaintError as error:
            self.complain(error.location, error.message)
            return None

    def raise_complaints(self) -> None:
        """Raise :class:`ConfigError` with every complaint, one a line, if there are any."""
        if self._complaints:
            self.fail()

    def fail(self, last: str = "") -> NoReturn:
        """Raise :class:`ConfigError` with every complaint, and with ``last`` as the last line."""
        lines = [self._format(*complaint) for complaint in sorted(self._complaints)]
        raise ConfigError("\n".join(lines + [f"{self.file}: {last}"] * bool(last)))

    def _format(self, line: int, path: str, message: str) -> str:
        return (
            f"{self.file}:{line}: {path}: {message}" if path else f"{self.file}:{line}: {message}"
        )


def printable(text: str) -> str:
    """Return a key for use in a complaint: cut short, and control characters escaped."""
    short = text if len(text) <= 64 else f"{text[:64]}…"
    return short if short.isprintable() else short.encode("unicode_escape").decode()


def suggest(text: str, known: Collection[str]) -> str:
    """Return ``did you mean branch?``, or a list of all known names if none is similar."""
    import difflib

    close = difflib.get_close_matches(text[:64], known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(sorted(known))}" if known else "none is defined"
