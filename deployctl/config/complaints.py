"""One reading of one repos.yml: the complaints so far and the names that sections define."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import NamedTuple, NoReturn, Protocol, TypeVar

from deployctl.config.locate import resolve_path
from deployctl.errors import ConfigError

# Rubbish can be wrong in a million places; nobody mends more than this at a time.
MAX_COMPLAINTS = 100

T = TypeVar("T")
P = TypeVar("P", bound="Place")


class Place(Protocol):
    """Something with a line (from 1) and a dotted path in repos.yml: any node of the tree."""

    @property
    def line(self) -> int: ...

    @property
    def path(self) -> str: ...


class Spot(NamedTuple):
    """A place without a value: the line of a syntax error, or of a key that is too much."""

    line: int
    path: str


class ComplaintError(Exception):
    """What is wrong with one value: on its way from a reader to whoever notes it.

    It says what was wanted and never repeats the value, so that no secret can slip into it.
    """

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(what)
        self.place = place
        self.what = what


class Reading:
    """Collects complaints, each once; ``names`` are the keys of a section, None if unknown."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.directory = os.path.dirname(file)
        self.names: dict[str, Collection[str] | None] = {}
        self._complaints: dict[tuple[int, str, str], None] = {}

    def resolve(self, path: str) -> str:
        """A path as repos.yml means it: relative to its own directory."""
        return resolve_path(path, self.directory)

    def complain(self, place: Place, what: str) -> None:
        """Note what is wrong; :class:`ConfigError` with all of them where it becomes too much."""
        self._complaints[place.line, place.path, what] = None
        if len(self._complaints) >= MAX_COMPLAINTS:
            self.fail("more may follow: mend these first")

    def attempt(self, read: Callable[[P, Reading], T], node: P) -> T | None:
        """What ``read`` makes of the node; None where there was something to complain about."""
        try:
            return read(node, self)
        except ComplaintError as error:
            self.complain(error.place, error.what)
            return None

    def finish(self) -> None:
        """:class:`ConfigError` with every complaint, a line each, if there are any."""
        if self._complaints:
            self.fail()

    def fail(self, last: str = "") -> NoReturn:
        """Raise :class:`ConfigError` with what was noted, and with a last word on the file."""
        lines = [self._line(*complaint) for complaint in sorted(self._complaints)]
        raise ConfigError("\n".join(lines + [f"{self.file}: {last}"] * bool(last)))

    def _line(self, line: int, path: str, what: str) -> str:
        return f"{self.file}:{line}: {path}: {what}" if path else f"{self.file}:{line}: {what}"


def shown(text: str) -> str:
    """A key as a complaint may show it: short, and nothing in it that a terminal obeys."""
    short = text if len(text) <= 64 else f"{text[:64]}…"
    return short if short.isprintable() else short.encode("unicode_escape").decode()


def guess(text: str, known: Collection[str]) -> str:
    """``did you mean branch?``, or the whole list where nothing looks alike."""
    import difflib

    close = difflib.get_close_matches(text[:64], known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(sorted(known))}" if known else "none is defined"
