"""Collect evidence for a failed health check: the end of log files and of the output of commands.

An error while evidence is collected never changes the result of the deployment. Its message is
shown in place of the lines.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from deployctl.health.deadline import DeadlineExceeded, call_within
from deployctl.system.command import Command
from deployctl.system.process import LastLines, StepOutcome, command_text
from deployctl.values.masking import escape_controls
from deployctl.values.repo import HealthCheck
from deployctl.values.text import FIRST, LAST, section

_LINES = 50
_BYTES = 8 * 1024
# More is read of a file than shown, because secrets are masked before the text is cut: half a
# secret would not be recognised.
_READ = 64 * 1024
_COMMAND_CHARS = 200

_ANSWER = f"{FIRST}the answer"
_CHECK = f"{LAST}the check itself"
RESTART = f"{LAST}the command that failed"
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def last_lines() -> LastLines:
    """Return the buffer that keeps the last 50 lines, at most 8 KiB, of one piece of evidence."""
    return LastLines(_LINES, _BYTES)


def check_heading(healthcheck: HealthCheck) -> str:
    """Return what stands above the output of the last try."""
    return _CHECK if healthcheck.url is None else _ANSWER


def collect_evidence(
    healthcheck: HealthCheck,
    output: str,
    *,
    heading: str,
    directory: str,
    run_command: Callable[[Command, float], StepOutcome],
    mask: Callable[[str], str],
    tell: Callable[[str], None],
) -> str:
    """Return the text that explains a failure, its ``tail``.

    That is ``output``, then every piece of evidence, each under a heading. Without evidence it is
    ``output`` alone, without a heading. ``output`` is that of the last try, or of the restart that
    failed; ``heading`` is what stands above it.

    ``directory`` is the live directory. ``run_command`` takes a command and a timeout in seconds,
    runs the command in ``directory``, and returns an outcome whose tail is masked; what the command
    prints goes to the log from there. ``mask`` hides secrets in a text. ``tell`` is called with
    every section that is not the output of a command.
    """
    own_output = section(heading, output)
    if heading == _ANSWER and output.strip():
        tell(own_output)
    if not healthcheck.evidence:
        return output
    sections = [own_output] if output.strip() else []
    for evidence in healthcheck.evidence:
        if evidence.file is not None:
            path = _absolute_path(directory, evidence.file)
            sections.append(_file_section(path, healthcheck.timeout, mask))
            tell(sections[-1])
        if evidence.command is not None:
            outcome = run_command(evidence.command, healthcheck.timeout)
            sections.append(_command_section(mask(command_text(evidence.command)), outcome))
    return "\n".join(sections)


def _absolute_path(directory: str, path: str) -> str:
    """Resolve a path relative to the live directory, without the symlink ``current``.

    After a rollback ``current`` points to another release, but the shown path must stay right.
    """
    return path if os.path.isabs(path) else os.path.realpath(os.path.join(directory, path))


def _file_section(path: str, timeout: float, mask: Callable[[str], str]) -> str:
    try:
        data = call_within(timeout, lambda: _read_end(path))
        reason_if_empty = "it is empty"
    except DeadlineExceeded:  # a mount that hangs
        data, reason_if_empty = b"", f"not read within {timeout:g}s"
    except OSError as error:
        data, reason_if_empty = b"", error.strerror or str(error)
    lines = last_lines()
    lines(mask(data.decode(errors="backslashreplace")).encode(errors="surrogatepass"))
    return section(f"{LAST}{escape_controls(path)}", lines.tail(), reason_if_empty)


def _read_end(path: str) -> bytes:
    """Return the last 64 KiB of a file, or less; raise OSError if it is not a regular file.

    If the file is longer, the first line of those bytes is left out, because it may begin with half
    a secret, which could not be masked. A pipe is not opened; if one replaces the file after the
    check, O_NONBLOCK keeps open() and read from waiting. If the log is truncated meanwhile, the
    result is shorter or empty.
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


def _command_section(command: str, outcome: StepOutcome) -> str:
    name = " ".join(command.split())
    name = name if len(name) <= _COMMAND_CHARS else f"{name[:_COMMAND_CHARS]}…"
    failure = "" if outcome.ok else outcome.describe()
    heading = f"{LAST}the command {escape_controls(name)}"
    if outcome.tail.strip():
        return section(f"{heading} ({failure})" if failure else heading, outcome.tail)
    return section(heading, "", failure or "it printed nothing")
