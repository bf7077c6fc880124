"""The command line: parse, call one action, print what it returns.

Each command is a module of this package, imported when it is called. Errors end here: one line on
stderr (or one JSON document on stdout) and the exit code of the contract with those who script.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import sys

import click

from deployctl import __version__
from deployctl.cli.groups import group_config_option
from deployctl.cli.streams import complain, have_streams, say, settle_streams
from deployctl.errors import DeployctlError, Interrupted, in_words

_COMMANDS = (
    "deploy",
    "rollback",
    "status",
    "history",
    "show",
    "logs",
    "run",
    "sync",
    "cancel",
    "lock",
    "unlock",
    "resume",
    "notices",
    "notify",
    "receive",
    "delivery",
    "check",
    "setup",
    "docs",
)


class _LazyGroup(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"deployctl.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess where there is no such command."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], _COMMANDS, 1)
            guess = f", did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"no command {args[0]}{guess}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@group_config_option
def _deployctl() -> None:
    """Push to deploy for people with their own machines.

    Without --config, repos.yml is looked for in $DEPLOYCTL_CONFIG, ./repos.yml,
    ~/.config/deployctl/repos.yml and /etc/deployctl/repos.yml.

    \b
    Exit codes:
      0    done, or nothing to do
      1    the deployment failed; what was live stays live
      2    wrong usage, invalid config, unknown repo
      3    it failed after the switch and was rolled back
      4    the rollback failed too: look at it now
      5    refused: held, locked, nothing to roll back to
      70   a bug in deployctl
      75   busy, try later
      130  interrupted
    """


def run_cli(arguments: list[str]) -> int:
    """Run one command -> the exit code."""
    os.umask(0o077)
    have_streams()
    _stand_somewhere()
    try:
        return _run(arguments, as_json="--json" in arguments)
    finally:
        settle_streams()


def _run(arguments: list[str], *, as_json: bool) -> int:
    try:
        words = arguments or ["--help"]
        code = _deployctl.main(words, prog_name="deployctl", standalone_mode=False)
        return int(code or 0) if arguments else 2
    except click.ClickException as error:
        message, exit_code = _usage(error), 2
    except DeployctlError as error:
        message, exit_code = str(error), error.exit_code
    except (click.Abort, KeyboardInterrupt, Interrupted):
        message, exit_code = "interrupted", 130
    except OSError as error:
        message, exit_code = in_words(error), 1
    except sqlite3.Error as error:
        message, exit_code = f"cannot read the record: {error}; is the disk sound?", 1
    except Exception as bug:  # noqa: BLE001 - the edge: a bug gets a log file, not a traceback
        message, exit_code = _report(bug), 70
    _complain(message, exit_code, as_json=as_json)
    return exit_code


def _stand_somewhere() -> None:
    """A directory that was removed under our feet is none that git would start in."""
    try:
        os.getcwd()
    except OSError:
        os.chdir("/")


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message} (see: {context.command_path} --help)" if context else message


def _complain(message: str, code: int, *, as_json: bool) -> None:
    """Say what went wrong: for a script on stdout, for people on stderr."""
    if as_json:
        say(sys.stdout, json.dumps({"error": {"code": code, "message": message}}))
    else:
        complain(message)


def _report(bug: Exception) -> str:
    from deployctl.cli.bugs import write_report

    place = write_report(bug)
    return f"a bug in deployctl ({type(bug).__name__}: {bug}); please report it with {place}"
