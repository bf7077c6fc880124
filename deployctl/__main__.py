"""The command ``deployctl``."""

from __future__ import annotations

import sys

from deployctl import __version__


def main() -> None:
    """Answer ``--version`` without loading anything; everything else is the CLI's."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"deployctl {__version__}\n")
        return
    try:
        from deployctl.cli import run_cli

        code = run_cli(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line is there to say it itself
        sys.stderr.write("deployctl: interrupted\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
