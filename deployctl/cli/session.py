"""What the commands share: the options every one has, the configuration, the record, the answer."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import click

from deployctl.cli.streams import say
from deployctl.config.load import load
from deployctl.config.locate import find_config
from deployctl.deploy.admission import Runtime
from deployctl.errors import ForeignError, UsageError
from deployctl.manual.own_command import this_command_as
from deployctl.output.choice import display
from deployctl.output.screen import Output, Screen, Stream
from deployctl.releases.site import Site, find_repo, open_site
from deployctl.store.database import Database
from deployctl.values.deployment import Origin
from deployctl.values.masking import escape_controls
from deployctl.values.repo import Config

F = TypeVar("F", bound=Callable[..., Any])

MAX_NUMBER = 10**9  # of lines asked for; SQLite knows no more than 64 bits


class Session:
    """One call of the command line."""

    def __init__(self, config: Config, db: Database, *, as_json: bool) -> None:
        self.config = config
        self.db = db
        self.as_json = as_json
        # Under --json only the document goes to stdout.
        self._stream = sys.stderr if as_json else sys.stdout
        self._output: Output | None = None

    def site(self, name: str) -> Site:
        return open_site(self.config, self.db, name)

    def sites(self, name: str | None) -> list[Site]:
        """One repo's, or all of them."""
        return [self.site(each) for each in ([name] if name else self.config.repos)]

    def known(self, name: str) -> str:
        return find_repo(self.config, name).name

    def plain(self) -> Output:
        """All output, line by line."""
        if self._output is None:
            self._output = Screen(Stream(self._stream))
        return self._output

    def runtime(self, *, quiet: bool = False, verbose: bool = False) -> Runtime:
        """``verbose``: all output on a terminal too, where it is shown in place otherwise."""
        if self._output is None and not verbose:
            self._output = Output() if quiet else display(self._stream, os.environ)
        return Runtime(self.config, self.db, self.plain())

    def close(self) -> None:
        if self._output is not None:
            self._output.close()

    def answer(self, document: Any, text: str) -> None:
        answer(document, text, as_json=self.as_json)


def answer(document: Any, text: str, *, as_json: bool) -> None:
    """Print what the command is for: as JSON, or as text for people."""
    if as_json:
        say(sys.stdout, json.dumps(document))  # ASCII: whole and harmless on every terminal
    elif text:
        say(sys.stdout, escape_controls(text))


def options(*, writes: bool) -> Callable[[F], F]:
    """Add --config and --json, and hand the command a :class:`Session`.

    ``writes``: whether the command changes the record; questions open it for reading only.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*arguments: Any, config: str | None, as_json: bool, **named: Any) -> Any:
            loaded = load(find_config(config))
            with _open(loaded, writes=writes) as db:
                session = Session(loaded, db, as_json=as_json)
                with contextlib.closing(session):
                    return function(session, *arguments, **named)

        return cast(F, bare_options(call))

    return decorate


def _open(config: Config, *, writes: bool) -> Database:
    with as_owner(config):
        return Database(config.state_dir, read_only=not writes)


@contextlib.contextmanager
def as_owner(config: Config) -> Iterator[None]:
    """Whoever may not do what the block does hears how the owner of the state does it."""
    try:
        yield
    except ForeignError as error:
        raise UsageError(f"{error}: {this_command_as(error.owner, config.path)}") from None


def bare_options(function: F) -> F:
    """Add --config and --json alone, for commands that do without a repos.yml in order.

    ``config`` is the file that was named, before or after the command; None where none was.
    """

    @functools.wraps(function)
    def call(*arguments: Any, config: str | None, **named: Any) -> Any:
        before = click.get_current_context().meta.get("deployctl.config")
        return function(*arguments, config=before if config is None else config, **named)

    json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    config_option = click.option("-c", "--config", metavar="FILE", help="The repos.yml to use.")
    return cast(F, config_option(json_option(call)))


verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Show all output, not only where it is."
)

limit_option = click.option(
    "-n",
    "limit",
    type=click.IntRange(1, MAX_NUMBER),
    default=20,
    show_default=True,
    help="How many to show.",
)


def current_origin(now: float) -> Origin:
    """Who asks from this shell, and by which way."""
    from deployctl.system.environment import account

    actor = storable(os.environ.get("SUDO_USER") or account().user)
    # ssh with a command has no terminal; a person who logged in first is at a shell like any other.
    remote = "SSH_CONNECTION" in os.environ and "SSH_TTY" not in os.environ
    return Origin(actor=actor, trigger="ssh" if remote else "cli", now=now)


def storable(text: str) -> str:
    """A caller's words as the record can hold them: a byte that is not UTF-8 becomes ``\\xff``."""
    return os.fsencode(text).decode(errors="backslashreplace")


def number_of(text: str) -> int | None:
    """``17`` or ``#17`` -> 17; None where it is not a number."""
    digits = text.removeprefix("#")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None


def need_number(text: str) -> int:
    number = number_of(text)
    if number is None:
        raise UsageError(f"{text} is not a deployment's number; see: deployctl history")
    return number
