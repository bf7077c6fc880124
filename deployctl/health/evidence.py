"""What explains a failed health check: the end of a log file, or of what a command prints.

Nothing that goes wrong here changes the outcome: it is told in place of the lines.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from deployctl.health.bounded import Late, within
from deployctl.health.check import HealthResult
from deployctl.system.command import Command
from deployctl.system.process import LastLines, Outcome, command_text
from deployctl.values.masking import escape_controls
from deployctl.values.repo import HealthCheck
from deployctl.values.text import FIRST, LAST, section

_LINES = 50
_BYTES = 8 * 1024
# More is read than shown: what is hidden in it must not be cut in half before it is found.
_READ = 64 * 1024
_COMMAND_CHARS = 200

_ANSWER = f"{FIRST}the answer"
_CHECK = f"{LAST}the check itself"
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def last_lines() -> LastLines:
    """What is kept of one piece of evidence."""
    return LastLines(_LINES, _BYTES)


def explain(
    healthcheck: HealthCheck,
    result: HealthResult,
    *,
    directory: str,
    run_command: Callable[[Command, float], Outcome],
    mask: Callable[[str], str],
    tell: Callable[[str], None],
) -> str:
    """What the last try brought, then each piece of evidence, looked at now and once: the tail.

    ``run_command`` runs a command in ``directory`` for so many seconds, tells of it itself, and
    its tail is masked; ``mask`` hides secrets in a whole text. What the last try brought is left
    as it is where it stands alone.
    """
    own = section(_CHECK if healthcheck.url is None else _ANSWER, result.tail)
    if healthcheck.url is not None and result.tail.strip():
        tell(own)
    if not healthcheck.evidence:
        return result.tail
    found = [own] if result.tail.strip() else []
    for piece in healthcheck.evidence:
        if piece.file is not None:
            path = _whole_path(directory, piece.file)
            found.append(_of_file(path, healthcheck.timeout, mask))
            tell(found[-1])
        if piece.command is not None:
            outcome = run_command(piece.command, healthcheck.timeout)
            found.append(_of_command(mask(command_text(piece.command)), outcome))
    return "\n".join(found)


def _whole_path(directory: str, path: str) -> str:
    """A relative path starts in what is live; named so that it means the same after a rollback."""
    return path if os.path.isabs(path) else os.path.realpath(os.path.join(directory, path))


def _of_file(path: str, timeout: float, mask: Callable[[str], str]) -> str:
    try:
        data = within(timeout, lambda: _end_of_file(path))
        trouble = "it is empty"
    except Late:  # a mount that hangs
        data, trouble = b"", f"not read within {timeout:g}s"
    except OSError as error:
        data, trouble = b"", error.strerror or str(error)
    lines = last_lines()
    lines(mask(data.decode(errors="backslashreplace")).encode(errors="surrogatepass"))
    return section(f"{LAST}{escape_controls(path)}", lines.tail(), trouble)


def _end_of_file(path: str) -> bytes:
    """Its last bytes, without the line that they begin in; OSError where it is no plain file.

    Of that line half a secret might be there, which nobody would find.

    A pipe is not opened, and were one put there this moment it would not be waited for; a log
    that is cut meanwhile has no such bytes any more.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind != stat.S_IFREG:
        raise OSError(0, f"it is {_KINDS.get(kind, 'a device')} and no file")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        start = max(os.fstat(fd).st_size - _READ, 0)
        data = os.pread(fd, _READ, start)
    finally:
        os.close(fd)
    if not start:
        return data
    _, newline, rest = data.partition(b"\n")
    if not newline or (data and not rest):
        raise OSError(0, f"its last line is longer than {_READ // 1024} KiB")
    return rest


def _of_command(command: str, outcome: Outcome) -> str:
    name = " ".join(command.split())
    name = name if len(name) <= _COMMAND_CHARS else f"{name[:_COMMAND_CHARS]}…"
    how = "" if outcome.ok else outcome.describe()
    heading = f"{LAST}the command {escape_controls(name)}"
    if outcome.tail.strip():
        return section(f"{heading} ({how})" if how else heading, outcome.tail)
    return section(heading, "", how or "it printed nothing")
