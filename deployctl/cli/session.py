"""The parts that all commands share: options, configuration, record and output."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO, TypeVar, cast

import click

from deployctl.cli.streams import write_line
from deployctl.config.load import load
from deployctl.config.locate import find_config
from deployctl.deploy.admission import Runtime
from deployctl.errors import ForeignError, UsageError
from deployctl.manual.own_command import this_command_as
from deployctl.output.screen import Output, Screen, Stream
from deployctl.releases.site import Site, find_repo, open_site
from deployctl.store.database import Database
from deployctl.values.deployment import Origin
from deployctl.values.masking import escape_controls
from deployctl.values.repo import Config

F = TypeVar("F", bound=Callable[..., Any])

# Values of TERM for terminals that cannot move their cursor (terminfo(5)), and TERM not set.
_DUMB = ("", "dumb", "unknown")
_MAX_LIMIT = 10**9  # SQLite takes a LIMIT of at most 64 bits


class Session:
    """The configuration, the record and the output of one command.

    With ``as_json``, stdout gets only the JSON document; progress goes to stderr.
    """

    def __init__(self, config: Config, db: Database, *, as_json: bool) -> None:
        self.config = config
        self.db = db
        self.as_json = as_json
        self._stream = sys.stderr if as_json else sys.stdout
        self._output: Output | None = None

    def site(self, name: str) -> Site:
        return open_site(self.config, self.db, name)

    def sites(self, name: str | None) -> list[Site]:
        """Return the site of the repo ``name``; for None, the sites of all repos."""
        return [self.site(repo) for repo in ([name] if name else self.config.repos)]

    def repo_name(self, name: str) -> str:
        """Return ``name``, or raise UsageError if repos.yml has no such repo."""
        return find_repo(self.config, name).name

    def plain_output(self) -> Output:
        """Return an output that shows everything, line by line."""
        if self._output is None:
            self._output = Screen(Stream(self._stream))
        return self._output

    def runtime(self, *, quiet: bool = False, verbose: bool = False) -> Runtime:
        """Return what a deployment needs to run.

        ``quiet`` shows no output. Otherwise a terminal shows only the current stage and step
        (unless ``verbose``), and a pipe or a file gets every line.
        """
        if self._output is None and not verbose:
            self._output = Output() if quiet else _output_for(self._stream, os.environ)
        return Runtime(self.config, self.db, self.plain_output())

    def close(self) -> None:
        if self._output is not None:
            self._output.close()

    def answer(self, document: Any, text: str) -> None:
        answer(document, text, as_json=self.as_json)


def _output_for(stream: TextIO, env: Mapping[str, str]) -> Output:
    """Return the output for a stream: in place on a terminal, else in plain lines.

    Plain lines are also chosen where a CI system records the terminal (``CI`` is set), and on a
    terminal that cannot move its cursor.
    """
    if not stream.isatty() or env.get("CI") or env.get("TERM", "") in _DUMB:
        return Screen(Stream(stream))
    from deployctl.output.terminal import Terminal

    return Terminal(Stream(stream), colours=not env.get("NO_COLOR"))  # https://no-color.org


def answer(document: Any, text: str, *, as_json: bool) -> None:
    """Print the result of a command on stdout: as JSON, or as text for a person."""
    if as_json:
        write_line(sys.stdout, json.dumps(document))  # ASCII only: safe on every terminal
    elif text:
        write_line(sys.stdout, escape_controls(text))


def options(*, writes: bool) -> Callable[[F], F]:
    """Return a decorator that adds --config and --json and passes a :class:`Session`.

    ``writes`` tells whether the command changes the record; if not, it is opened read-only.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*arguments: Any, config: str | None, as_json: bool, **named: Any) -> Any:
            loaded = load(find_config(config))
            with _open_record(loaded, writes=writes) as db:
                session = Session(loaded, db, as_json=as_json)
                with contextlib.closing(session):
                    return function(session, *arguments, **named)

        return cast(F, bare_options(call))

    return decorate


def _open_record(config: Config, *, writes: bool) -> Database:
    with naming_owner_command(config):
        return Database(config.state_dir, read_only=not writes)


@contextlib.contextmanager
def naming_owner_command(config: Config) -> Iterator[None]:
    """Turn a ForeignError into a UsageError that names the command to run as the owner."""
    try:
        yield
    except ForeignError as error:
        raise UsageError(f"{error}: {this_command_as(error.owner, config.path)}") from None


def bare_options(function: F) -> F:
    """Add --config and --json, for a command that needs no valid repos.yml.

    The command gets the file as ``config``, whether the option stands before or after the name of
    the command; None if the option was not given.
    """

    @functools.wraps(function)
    def call(*arguments: Any, config: str | None, **named: Any) -> Any:
        before = click.get_current_context().meta.get("deployctl.config")
        return function(*arguments, config=before if config is None else config, **named)

    json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    config_option = click.option("-c", "--config", metavar="FILE", help="The repos.yml to use.")
    return cast(F, config_option(json_option(call)))


verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Show all output, on a terminal too."
)

limit_option = click.option(
    "-n",
    "limit",
    type=click.IntRange(1, _MAX_LIMIT),
    default=20,
    show_default=True,
    help="How many to show.",
)


def current_origin(now: float) -> Origin:
    """Return who runs this command (the actor) and from where: ``ssh`` or ``cli``."""
    from deployctl.system.environment import current_account

    actor = storable_text(os.environ.get("SUDO_USER") or current_account().user)
    # "ssh HOST COMMAND" has no terminal. A person who logged in first has one, and counts as cli.
    remote = "SSH_CONNECTION" in os.environ and "SSH_TTY" not in os.environ
    return Origin(actor=actor, trigger="ssh" if remote else "cli", now=now)


def storable_text(text: str) -> str:
    """Return text that SQLite can store: a byte that is not UTF-8 becomes ``\\xff``."""
    return os.fsencode(text).decode(errors="backslashreplace")


def parse_number(text: str) -> int | None:
    """Return 17 for ``17`` or ``#17``; None if the text is not such a number."""
    digits = text.removeprefix("#")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None


def parse_deployment_number(text: str) -> int:
    """Return the number of a deployment; UsageError if the text is no number."""
    number = parse_number(text)
    if number is None:
        raise UsageError(f"{text} is not a deployment's number; see: deployctl history")
    return number
