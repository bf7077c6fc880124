"""Format deployments, releases, repos and findings as plain text that fits the terminal."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap

from deployctl.check.finding import Finding
from deployctl.output.status import OnProbation, RepoStatus
from deployctl.store.releases import ReleaseRecord
from deployctl.values.deployment import PHASES_WITHOUT_EFFECT, Deployment, Failure, StageRecord
from deployctl.values.masking import escape_controls
from deployctl.values.text import columns_of, cut, in_bytes, is_section
from deployctl.values.times import age, clock_time, duration, local

# Widths in columns.
_LABEL = 10
_INDENT = 6
_NARROW = 80


def short_sha(revision: str | None) -> str:
    return (revision or "-")[:12]


def one_line(text: str) -> str:
    """Return the text as one line, with control characters escaped."""
    return escape_controls(text).replace("\n", " ").replace("\t", " ")


def terminal_columns() -> int | None:
    """Return the width of the terminal; None if stdout is no terminal, so that nothing is cut."""
    if not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or None


def table(rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Align the cells of the rows in columns; cut the last cell if the terminal is too narrow."""
    widths = [max(map(columns_of, cells)) for cells in zip(*rows, strict=True)][:-1]
    lines = []
    for *cells, last in rows:
        padded = [_pad(cell, width) for cell, width in zip(cells, widths, strict=True)]
        lines.append(cut("  ".join([*padded, last]), columns))
    return lines


def history_lines(
    deployments: Sequence[Deployment],
    columns: int | None,
    *,
    with_repo: bool,
    with_stages: bool,
) -> list[str]:
    """Return one line for each deployment; without year and duration on a narrow terminal.

    ``with_stages``: below each deployment, add how long its stages took.
    """
    narrow = columns is not None and columns < _NARROW
    rows = table(
        [_history_row(deployment, with_repo, narrow) for deployment in deployments], columns
    )
    if not with_stages:
        return rows
    times = [_stage_times(deployment, columns) for deployment in deployments]
    return [line for row, lines in zip(rows, times, strict=True) for line in (row, *lines)]


def release_lines(
    releases: Sequence[ReleaseRecord],
    default: ReleaseRecord | None,
    now: float,
    columns: int | None,
) -> list[str]:
    """Return one line for each release to go back to; ``*`` marks the default one."""
    rows = [_release_row(release, release == default, now) for release in releases]
    return table(rows, columns)


def deployment_text(deployment: Deployment, now: float) -> str:
    """Return all that the record has about one deployment."""
    stages, failure = _stage_lines(deployment.stages), _failure_lines(deployment)
    return "\n".join([*_fact_lines(deployment, now), *stages, *failure])


def failure_summary(deployment: Deployment) -> str:
    """Return the failure and the commands that show more; empty if nothing failed.

    It is printed below the outcome, so a failure that the reason contains already is left out.
    """
    failure = deployment.failure
    if failure is None:
        return ""
    shown_already = deployment.reason and failure.message in deployment.reason
    failed = f"failed in {failure.stage}: {_first_line(failure.message)}"
    lines = [] if shown_already else [failed]
    number = deployment.number
    return "\n".join([*lines, f"more: deployctl show {number}, deployctl logs {number}"])


def _first_line(message: str) -> str:
    """Return the first line of a message and the number of the lines that were left out."""
    first, *more = message.splitlines() or [""]
    return one_line(first) + (f" (and {len(more)} more)" if more else "")


def status_block(status: RepoStatus, now: float, columns: int | None) -> str:
    """Return the name of a repo and, indented below it, its state."""
    lines = [status.site.repo.name, *(f"  {line}" for line in _status_lines(status, now))]
    return "\n".join(part for line in lines for part in _fold(line, columns, _LABEL + 2))


def finding_lines(findings: Sequence[Finding], columns: int | None) -> list[str]:
    """Return a line for each finding, its fix below it, and a summary at the end."""
    rows = table([_finding_cells(finding) for finding in findings], None)
    lines = []
    for finding, line in zip(findings, rows, strict=True):
        lines += _fold(line, columns, _INDENT)
        for fix in (finding.fix or "").splitlines():
            lines += _fold(f"{' ' * _INDENT}{one_line(fix)}", columns, _INDENT + 2)
    return [*lines, _summary(findings)]


def _finding_cells(finding: Finding) -> list[str]:
    mark = "FAIL" if finding.level == "fail" else finding.level
    about = f"{finding.repo}: " if finding.repo else ""
    return [mark, finding.check, one_line(f"{about}{finding.message}")]


def _summary(findings: Sequence[Finding]) -> str:
    count = Counter[str](finding.level for finding in findings)
    words = {"fail": "to mend", "warn": "to think about", "ok": "fine"}
    parts = [f"{count[level]} {word}" for level, word in words.items() if count[level]]
    return ", ".join(parts) or "nothing to look at"


def _history_row(deployment: Deployment, with_repo: bool, narrow: bool) -> list[str]:
    time = local(deployment.started_at or deployment.queued_at)
    revision = deployment.revision or deployment.wanted_revision or "-"
    idle = deployment.phase in PHASES_WITHOUT_EFFECT
    about = (deployment.reason if idle else deployment.subject) or deployment.reason or ""
    prefix = "rollback: " if deployment.task == "rollback" else ""
    return [
        f"#{deployment.number}",
        *([deployment.repo] if with_repo else []),
        deployment.status,
        *([time[5:16]] if narrow else [time[:16], duration(deployment.duration)]),
        revision[:7],
        one_line(f"{prefix}{about} ({deployment.actor})"),
    ]


def _stage_times(deployment: Deployment, columns: int | None) -> list[str]:
    times = ", ".join(
        f"{stage.name} {duration(stage.duration)}"
        f"{_status_unless_ok(stage)}{_if_slow(stage, ' ({})')}"
        for stage in deployment.stages
    )
    indent = " " * _INDENT
    return _fold(f"{indent}{one_line(times)}", columns, _INDENT) if times else []


def _status_unless_ok(stage: StageRecord) -> str:
    return "" if stage.status == "succeeded" else f" {stage.status}"


def _if_slow(stage: StageRecord, form: str) -> str:
    return form.format(f"usually {duration(stage.usual)}") if stage.slow else ""


def _release_row(release: ReleaseRecord, default: bool, now: float) -> list[str]:
    return [
        ("* " if default else "  ") + (f"#{release.number}" if release.number else "-"),
        short_sha(release.revision),
        age(release.built_at, now) if release.built_at else "before deployctl",
        in_bytes(release.size) if release.size is not None else "",
        one_line(f"{release.subject or ''} ({release.actor or 'unknown'})"),
    ]


def _pad(text: str, width: int) -> str:
    return text + " " * (width - columns_of(text))


def _fold(line: str, columns: int | None, indent: int) -> list[str]:
    """Wrap a line to the width of the terminal; indent all lines but the first."""
    if columns is None or columns_of(line) <= columns:
        return [line]
    parts = wrap(line, columns, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [cut(part, columns) for part in parts]


def _labelled(label: str, text: str) -> str:
    return f"{label.ljust(_LABEL)}{text}"


def _fact_lines(deployment: Deployment, now: float) -> Iterator[str]:
    yield f"#{deployment.number} {deployment.repo}: {deployment.task}, {deployment.status}"
    origin = f"by {deployment.actor} ({deployment.trigger}), {local(deployment.queued_at)}"
    yield _labelled("asked", f"{one_line(origin)}, {age(deployment.queued_at, now)}")
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


def _stage_lines(stages: Sequence[StageRecord]) -> Iterator[str]:
    longest = max((len(stage.name) for stage in stages), default=0)
    if stages:
        yield ""
    for stage in stages:
        took = duration(stage.duration).rjust(8)
        usual = _if_slow(stage, "  {}")
        yield f"  {stage.name.ljust(longest)}  {stage.status.ljust(9)}  {took}{usual}"


def _failure_lines(deployment: Deployment) -> Iterator[str]:
    failure = deployment.failure
    if failure is None:
        return
    yield ""
    yield f"failed in {failure.stage}: {one_line(failure.message)}"
    if failure.command:
        yield _labelled("command", one_line(failure.command))
    if failure.tail:
        lines = "first lines:" if failure.tail_is_url_answer else "last lines:"
        yield "evidence:" if is_section(failure.tail) else lines
        yield from (f"  {line}" for line in escape_controls(failure.tail).splitlines())


def _status_lines(status: RepoStatus, now: float) -> Iterator[str]:
    yield _labelled("live", _live_text(status, now))
    last = status.last
    if last and (status.made_live_by is None or last.number != status.made_live_by.number):
        ended = age(last.finished_at or last.queued_at, now)
        yield _labelled(
            "last", f"#{last.number} {last.status}, {ended}{_failure_text(last.failure)}"
        )
    if status.probation:
        yield _labelled("probation", _probation_text(status.probation, now))
    if status.running:
        yield _labelled("running", _origin_text(status.running, now))
    for queued in status.queued:
        until = f": it waits for the checks of {short_sha(queued.awaits)}" if queued.awaits else ""
        yield _labelled("waiting", _origin_text(queued, now) + until)
    yield from _hold_and_lock_lines(status, now)
    target = status.rollback_to
    if target:
        number = f"#{target.number} " if target.number else ""
        yield _labelled("rollback", f"would go to {number}{short_sha(target.revision)}")


def _probation_text(probation: OnProbation, now: float) -> str:
    record, until = probation.record, clock_time(probation.until, now)
    left = f"until {until} ({duration(probation.left)} left)" if probation.left else "is over"
    if record.failure is None:
        return left
    about = record.why or f"see: deployctl show {record.rollback}"
    return one_line(f"{left}; FAILED: {record.failure.message}; {about}")


def _hold_and_lock_lines(status: RepoStatus, now: float) -> Iterator[str]:
    name = status.site.repo.name
    if status.hold:
        hold = status.hold
        yield _labelled("held", f"{short_sha(hold.revision)}, {age(hold.since, now)}: {hold.why}")
        yield _labelled("", f"push a fix, or: deployctl resume {name}")
    if status.lock:
        lock = status.lock
        yield _labelled("locked", one_line(f"by {lock.actor}, {age(lock.since, now)}: {lock.why}"))
        yield _labelled("", f"lift it with: deployctl unlock {name}")


def _live_text(status: RepoStatus, now: float) -> str:
    if status.problem is not None:
        return one_line(status.problem)
    if status.live is None:
        return f"nothing yet; start with: deployctl deploy {status.site.repo.name}"
    by = status.made_live_by
    if by is None:
        return f"{short_sha(status.live.revision)} (not deployed by deployctl)"
    since = "being checked" if status.checking else age(by.finished_at or by.queued_at, now)
    unwell = "" if status.well else ", NOT WELL: its check failed"
    about = one_line(by.subject or "")
    return f"{short_sha(by.revision)} {about} (#{by.number}, {since}{unwell})"


def _origin_text(deployment: Deployment, now: float) -> str:
    since = age(deployment.started_at or deployment.queued_at, now)
    return one_line(f"#{deployment.number} {deployment.task} by {deployment.actor}, {since}")


def _failure_text(failure: Failure | None) -> str:
    return f", in {failure.stage}: {_first_line(failure.message)}" if failure else ""
