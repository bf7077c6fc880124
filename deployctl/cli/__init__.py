"""The command line: parse the arguments, run one command, turn an error into an exit code.

Each command is a module of this package. It is imported only when it is called, so that every
command starts fast. An error becomes one line on stderr (with ``--json``: one JSON document on
stdout) and one of the exit codes that ``deployctl --help`` lists.
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
from deployctl.cli.streams import (
    flush_streams,
    open_missing_streams,
    print_message,
    write_line,
)
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
    """A group of commands, each imported from the module of its name when it is called."""

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
        """Find the command as click does; if there is none, suggest a similar name."""
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
    """Push to deploy, for your own servers.

    Without --config, the file that $DEPLOYCTL_CONFIG names is read. Without that
    variable, it is the first that exists of ./repos.yml,
    ~/.config/deployctl/repos.yml and /etc/deployctl/repos.yml.

    \b
    Exit codes:
      0    done, or nothing to do
      1    the deployment failed; what was live before is still live
      2    wrong usage, invalid config, unknown repo
      3    it failed after the switch and was rolled back
      4    the rollback failed too: a person must look at it now
      5    refused: held, locked, nothing to roll back to
      70   a bug in deployctl
      75   busy, try later
      130  interrupted
    """


def run_cli(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    os.umask(0o077)
    open_missing_streams()
    _leave_removed_directory()
    try:
        return _run(arguments, as_json="--json" in arguments)
    finally:
        flush_streams()


def _run(arguments: list[str], *, as_json: bool) -> int:
    try:
        code = _deployctl.main(
            arguments or ["--help"], prog_name="deployctl", standalone_mode=False
        )
        return int(code or 0) if arguments else 2
    except click.ClickException as error:
        message, exit_code = _usage_message(error), 2
    except DeployctlError as error:
        message, exit_code = str(error), error.exit_code
    except (click.Abort, KeyboardInterrupt, Interrupted):
        message, exit_code = "interrupted", 130
    except OSError as error:
        message, exit_code = in_words(error), 1
    except sqlite3.Error as error:
        message, exit_code = f"cannot read the record: {error}; is the disk sound?", 1
    except Exception as bug:  # noqa: BLE001 - a bug is written to a file, not shown as a traceback
        message, exit_code = _report_bug(bug), 70
    _print_failure(message, exit_code, as_json=as_json)
    return exit_code


def _leave_removed_directory() -> None:
    """Change to ``/`` if the current directory was removed: git does not start in such a one."""
    try:
        os.getcwd()
    except OSError:
        os.chdir("/")


def _usage_message(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message} (see: {context.command_path} --help)" if context else message


def _print_failure(message: str, code: int, *, as_json: bool) -> None:
    """Print an error: as JSON on stdout for a script, as text on stderr for a person."""
    if as_json:
        write_line(sys.stdout, json.dumps({"error": {"code": code, "message": message}}))
    else:
        print_message(message)


def _report_bug(bug: Exception) -> str:
    """Write a bug report and return the message that names its file."""
    from deployctl.cli.bugs import write_report

    path = write_report(bug)
    return f"a bug in deployctl ({type(bug).__name__}: {bug}); please report it with {path}"
