"""How deployments and repos look to a person: plain text that fits the terminal."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap

from deployctl.check.finding import Finding
from deployctl.output.status import OnProbation, RepoStatus
from deployctl.store.releases import ReleaseRecord
from deployctl.values.deployment import IDLE, Deployment, Failure, StageRecord
from deployctl.values.masking import escape_controls
from deployctl.values.text import columns_of, cut, in_bytes, is_section
from deployctl.values.times import age, clock_time, duration, local

_LABEL = 10
_FIX = 6
_NARROW = 80


def short(revision: str | None) -> str:
    return (revision or "-")[:12]


def one_line(text: str) -> str:
    """Nothing in it moves the cursor or begins a second line."""
    return escape_controls(text).replace("\n", " ").replace("\t", " ")


def width() -> int | None:
    """The terminal's columns; None where the output is no terminal and nothing is cut."""
    if not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or None


def table(rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Rows with their cells below each other; the last one gives way to a narrow terminal."""
    widths = [max(map(columns_of, cells)) for cells in zip(*rows, strict=True)][:-1]
    lines = []
    for *cells, last in rows:
        padded = [_padded(cell, width) for cell, width in zip(cells, widths, strict=True)]
        lines.append(cut("  ".join([*padded, last]), columns))
    return lines


def history_lines(
    deployments: Sequence[Deployment],
    columns: int | None,
    *,
    with_repo: bool,
    with_stages: bool,
) -> list[str]:
    """One line for each deployment; a narrow terminal does without year and duration.

    ``with_stages``: below it how long each stage took.
    """
    narrow = columns is not None and columns < _NARROW
    rows = table([_history_row(each, with_repo, narrow) for each in deployments], columns)
    if not with_stages:
        return rows
    below = [_timings(each, columns) for each in deployments]
    return [line for row, lines in zip(rows, below, strict=True) for line in (row, *lines)]


def release_lines(
    releases: Sequence[ReleaseRecord],
    default: ReleaseRecord | None,
    now: float,
    columns: int | None,
) -> list[str]:
    """The candidates for a rollback; the one that a plain rollback takes is marked."""
    return table([_release_row(each, each == default, now) for each in releases], columns)


def whole(deployment: Deployment, now: float) -> str:
    """Everything about one deployment."""
    return "\n".join([*_facts(deployment, now), *_stages(deployment.stages), *_failure(deployment)])


def more_of(deployment: Deployment) -> str:
    """What a person who watched a deployment fail wants to know at its end; else nothing."""
    failure = deployment.failure
    if failure is None:
        return ""
    told = deployment.reason and failure.message in deployment.reason
    lines = [] if told else [f"failed in {failure.stage}: {_beginning(failure.message)}"]
    number = deployment.number
    return "\n".join([*lines, f"more: deployctl show {number}, deployctl logs {number}"])


def _beginning(message: str) -> str:
    """The first line, for where all of them stand elsewhere."""
    first, *more = message.splitlines() or [""]
    return one_line(first) + (f" (and {len(more)} more)" if more else "")


def status_block(status: RepoStatus, now: float, columns: int | None) -> str:
    """A repo's name and, indented below it, what is to be known of it."""
    lines = [status.site.repo.name, *(f"  {line}" for line in _status_lines(status, now))]
    return "\n".join(part for line in lines for part in _wrapped(line, columns))


def finding_lines(findings: Sequence[Finding], columns: int | None) -> list[str]:
    """A line for each finding, what mends it below, and a summary at the end."""
    names = table([_finding_cells(each) for each in findings], None)
    lines = []
    for finding, line in zip(findings, names, strict=True):
        lines += _folded(line, columns, _FIX)
        for fix in (finding.fix or "").splitlines():
            lines += _folded(f"{' ' * _FIX}{one_line(fix)}", columns, _FIX + 2)
    return [*lines, _summary(findings)]


def _finding_cells(finding: Finding) -> list[str]:
    mark = "FAIL" if finding.level == "fail" else finding.level
    about = f"{finding.repo}: " if finding.repo else ""
    return [mark, finding.check, one_line(f"{about}{finding.message}")]


def _summary(findings: Sequence[Finding]) -> str:
    count = Counter[str](finding.level for finding in findings)
    words = {"fail": "to mend", "warn": "to think about", "ok": "fine"}
    told = [f"{count[level]} {word}" for level, word in words.items() if count[level]]
    return ", ".join(told) or "nothing to look at"


def _history_row(deployment: Deployment, with_repo: bool, narrow: bool) -> list[str]:
    moment = local(deployment.started_at or deployment.queued_at)
    revision = deployment.revision or deployment.wanted_revision or "-"
    idle = deployment.phase in IDLE
    what = (deployment.reason if idle else deployment.subject) or deployment.reason or ""
    prefix = "rollback: " if deployment.task == "rollback" else ""
    return [
        f"#{deployment.number}",
        *([deployment.repo] if with_repo else []),
        deployment.status,
        *([moment[5:16]] if narrow else [moment[:16], duration(deployment.duration)]),
        revision[:7],
        one_line(f"{prefix}{what} ({deployment.actor})"),
    ]


def _timings(deployment: Deployment, columns: int | None) -> list[str]:
    told = ", ".join(
        f"{stage.name} {duration(stage.duration)}{_unless_ok(stage)}{_if_slow(stage, ' ({})')}"
        for stage in deployment.stages
    )
    indent = " " * _FIX
    return _folded(f"{indent}{one_line(told)}", columns, _FIX) if told else []


def _unless_ok(stage: StageRecord) -> str:
    return "" if stage.status == "succeeded" else f" {stage.status}"


def _if_slow(stage: StageRecord, form: str) -> str:
    return form.format(f"usually {duration(stage.usual)}") if stage.slow else ""


def _release_row(release: ReleaseRecord, default: bool, now: float) -> list[str]:
    return [
        ("* " if default else "  ") + (f"#{release.number}" if release.number else "-"),
        short(release.revision),
        age(release.built_at, now) if release.built_at else "before deployctl",
        in_bytes(release.size) if release.size is not None else "",
        one_line(f"{release.subject or ''} ({release.actor or 'unknown'})"),
    ]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns_of(text))


def _wrapped(line: str, columns: int | None) -> list[str]:
    """A long line goes on below itself."""
    return _folded(line, columns, _LABEL + 2)


def _folded(line: str, columns: int | None, indent: int) -> list[str]:
    """As many lines as it takes, those after the first indented."""
    if columns is None or columns_of(line) <= columns:
        return [line]
    parts = wrap(line, columns, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [cut(part, columns) for part in parts]


def _labelled(label: str, text: str) -> str:
    return f"{label.ljust(_LABEL)}{text}"


def _facts(deployment: Deployment, now: float) -> Iterator[str]:
    yield f"#{deployment.number} {deployment.repo}: {deployment.task}, {deployment.status}"
    asked = f"by {deployment.actor} ({deployment.trigger}), {local(deployment.queued_at)}"
    yield _labelled("asked", f"{one_line(asked)}, {age(deployment.queued_at, now)}")
    if deployment.ref:
        yield _labelled("ref", deployment.ref)
    if deployment.revision:
        yield _labelled("revision", f"{deployment.revision} {one_line(deployment.subject or '')}")
    if deployment.previous_revision:
        yield _labelled("before", deployment.previous_revision)
    if deployment.release:
        yield _labelled("release", deployment.release)
    if deployment.rollback_of:
        yield _labelled("undoes", f"#{deployment.rollback_of}")
    if deployment.duration is not None:
        yield _labelled("took", duration(deployment.duration))
    if deployment.reason:
        yield _labelled("reason", one_line(deployment.reason))


def _stages(stages: Sequence[StageRecord]) -> Iterator[str]:
    longest = max((len(stage.name) for stage in stages), default=0)
    if stages:
        yield ""
    for stage in stages:
        took = duration(stage.duration).rjust(8)
        usual = _if_slow(stage, "  {}")
        yield f"  {stage.name.ljust(longest)}  {stage.status.ljust(9)}  {took}{usual}"


def _failure(deployment: Deployment) -> Iterator[str]:
    failure = deployment.failure
    if failure is None:
        return
    yield ""
    yield f"failed in {failure.stage}: {one_line(failure.message)}"
    if failure.command:
        yield _labelled("command", one_line(failure.command))
    if failure.tail:
        lines = "first lines:" if failure.is_of_answer else "last lines:"
        yield "evidence:" if is_section(failure.tail) else lines
        yield from (f"  {line}" for line in escape_controls(failure.tail).splitlines())


def _status_lines(status: RepoStatus, now: float) -> Iterator[str]:
    yield _labelled("live", _live(status, now))
    last = status.last
    if last and (status.made_live_by is None or last.number != status.made_live_by.number):
        ended = age(last.finished_at or last.queued_at, now)
        yield _labelled("last", f"#{last.number} {last.status}, {ended}{_why(last.failure)}")
    if status.probation:
        yield _labelled("probation", _on_probation(status.probation, now))
    if status.running:
        yield _labelled("running", _asked(status.running, now))
    for queued in status.queued:
        until = f": it waits for the checks of {short(queued.awaits)}" if queued.awaits else ""
        yield _labelled("waiting", _asked(queued, now) + until)
    yield from _frozen(status, now)
    target = status.rollback_to
    if target:
        number = f"#{target.number} " if target.number else ""
        yield _labelled("rollback", f"would go to {number}{short(target.revision)}")


def _on_probation(probation: OnProbation, now: float) -> str:
    record, until = probation.record, clock_time(probation.until, now)
    left = f"until {until} ({duration(probation.left)} left)" if probation.left else "is over"
    if record.failure is None:
        return left
    about = record.why or f"see: deployctl show {record.rollback}"
    return one_line(f"{left}; FAILED: {record.failure.message}; {about}")


def _frozen(status: RepoStatus, now: float) -> Iterator[str]:
    name = status.site.repo.name
    if status.hold:
        hold = status.hold
        yield _labelled("held", f"{short(hold.revision)}, {age(hold.since, now)}: {hold.why}")
        yield _labelled("", f"push a fix, or: deployctl resume {name}")
    if status.lock:
        lock = status.lock
        yield _labelled("locked", one_line(f"by {lock.actor}, {age(lock.since, now)}: {lock.why}"))
        yield _labelled("", f"lift it with: deployctl unlock {name}")


def _live(status: RepoStatus, now: float) -> str:
    if status.problem is not None:
        return one_line(status.problem)
    if status.live is None:
        return f"nothing yet; start with: deployctl deploy {status.site.repo.name}"
    by = status.made_live_by
    if by is None:
        return f"{short(status.live.revision)} (not deployed by deployctl)"
    since = age(by.finished_at or by.queued_at, now)
    return f"{short(by.revision)} {one_line(by.subject or '')} (#{by.number}, {since})"


def _asked(deployment: Deployment, now: float) -> str:
    since = age(deployment.started_at or deployment.queued_at, now)
    return one_line(f"#{deployment.number} {deployment.task} by {deployment.actor}, {since}")


def _why(failure: Failure | None) -> str:
    return f", in {failure.stage}: {_beginning(failure.message)}" if failure else ""
