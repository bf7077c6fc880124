"""Compose the title and the body of the notice about a deployment."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deployctl.values.deployment import Deployment, Failure
from deployctl.values.masking import escape_controls
from deployctl.values.notice import Wording
from deployctl.values.text import FIRST, is_section, sections
from deployctl.values.times import duration

_LINE_BYTES = 300  # of a commit's subject, a command and the like
_BLANK_LINE = "\n\n"
_TAIL_LINES = 15
_TAIL_BYTES = 1500
_MAX_SECTIONS = 10  # of evidence; with more of them, the share of each would be too small
# A push message to a phone may have 4 KB in all, its other fields included; a larger one is refused
# (https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification).
_BODY_BYTES = 3000

# Words that notify everybody in a chat; a commit's subject must not do that.
_MENTION = re.compile(r"@(?=(?:everyone|here|channel|all)\b|[&!]?\d+>)", re.IGNORECASE)


def compose(deployment: Deployment, *, recovered: bool, host: str) -> Wording:
    """Return event, title and body of the notice about a deployment.

    ``recovered``: the repo's previous finished deployment had not succeeded. ``host`` is the name
    of this machine. The body has at most about 3,000 bytes. It ends with the last lines of a failed
    step's output, or with a part of every section of a failed health check's evidence.
    """
    event = event_of(deployment, recovered)
    facts = "\n".join(filter(None, _facts(deployment, host)))
    room = _BODY_BYTES - len(facts.encode())
    body = _BLANK_LINE.join([facts, *_excerpts(deployment.failure, room)])
    return Wording(event, f"{deployment.repo}: {_headline(deployment, event)}", body)


def event_of(deployment: Deployment, recovered: bool) -> str:
    """Return the name of the event that a notice of this deployment reports now."""
    if deployment.status == "running":
        return "started"
    if deployment.went_back_by_itself:
        return "rolled_back"
    return "recovered" if recovered and deployment.status == "succeeded" else deployment.status


def _headline(deployment: Deployment, event: str) -> str:
    new = _short_sha(deployment.revision or deployment.wanted_revision)
    old = _short_sha(deployment.previous_revision)
    task = "rollback" if deployment.task == "rollback" else "deployment"
    if deployment.task == "rollback" and deployment.status == "succeeded":
        return f"rolled back to {new} by {_line(deployment.actor)}"
    return {
        "started": f"{task} started" + (f" ({new})" if new else ""),
        "succeeded": f"deployed {new}",
        "recovered": f"works again ({new})",
        "failed": f"{task} failed" + (", the old version stays live" if old else ""),
        "rolled_back": f"rolled back to {old}",
        "degraded": "DEGRADED, needs you",
    }.get(event, f"{task} {event}")


def _facts(deployment: Deployment, host: str) -> list[str]:
    """Return the lines about a deployment; a line is empty if its fact is not known."""
    took = f", took {duration(deployment.duration)}" if deployment.duration is not None else ""
    ref = (deployment.ref or "").removeprefix("refs/heads/").removeprefix("refs/")
    revision = _short_sha(deployment.revision or deployment.wanted_revision)
    return [
        _line(deployment.subject or ""),
        f"{revision} on {_line(ref)}" if ref else revision,
        f"by {_line(deployment.actor)} ({deployment.trigger}){took}",
        *_slow_stages(deployment),
        f"deployment {deployment.number} on {host}",
        *_failure_lines(deployment),
        f"more: deployctl logs {deployment.number}",
    ]


def _slow_stages(deployment: Deployment) -> list[str]:
    return [
        f"{_line(stage.name)} took {duration(stage.duration)}, usually {duration(stage.usual)}"
        for stage in deployment.stages
        if stage.slow and deployment.finished
    ]


def _failure_lines(deployment: Deployment) -> list[str]:
    """Return the lines about the failure, and the reason; no text is repeated."""
    lines = _step_lines(deployment.failure) if deployment.failure else []
    reason = _line(deployment.reason or "")
    return lines if reason in lines else [*(line for line in lines if line not in reason), reason]


def _step_lines(failure: Failure) -> list[str]:
    where = failure.stage + (f" on {failure.host}" if failure.host else "")
    command = f": {_line(failure.command)}" if failure.command else ""
    ending = _ending(failure)
    is_complete = not ending or ending in failure.message
    message = failure.message if is_complete else f"{ending}: {failure.message}"
    return [f"failed in {_line(where)}{command}", _line(message)]


def _ending(failure: Failure) -> str:
    if failure.timed_out:
        return "timed out"
    if failure.signal:
        return f"killed by {failure.signal}"
    return f"exit code {failure.exit_code}" if failure.exit_code is not None else ""


def _excerpts(failure: Failure | None, room: int) -> list[str]:
    """Return the parts of a failure's tail, cut so that they fit into ``room`` bytes together."""
    parts = sections(failure.tail)[:_MAX_SECTIONS] if failure else []
    parts = [_harmless(part).rstrip() for part in parts]
    if failure and len(parts) == 1 and not is_section(parts[0]):
        lines, size = parts[0].split("\n"), min(_TAIL_BYTES, room)
        if failure.tail_is_url_answer:
            return [_first_bytes("\n".join(lines[:_TAIL_LINES]), size)]
        return [_last_bytes("\n".join(lines[-_TAIL_LINES:]), size)]
    sizes = _shares([len(part.encode()) for part in parts], room - len(_BLANK_LINE) * len(parts))
    return [_excerpt(part, size) for part, size in zip(parts, sizes, strict=True)]


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Divide ``room`` bytes equally; a part that wants less leaves the rest to the others."""
    shares = [0] * len(wanted)
    for served, index in enumerate(sorted(range(len(wanted)), key=lambda number: wanted[number])):
        equal = (room - sum(shares)) // (len(wanted) - served)
        shares[index] = max(min(wanted[index], equal), 0)
    return shares


def _excerpt(section: str, size: int) -> str:
    """Return a section's heading and the beginning or end of its text, in ``size`` bytes.

    The heading tells which: an answer is cut at its end, a log at its beginning.
    """
    heading, _, text = section.partition("\n")
    heading = _first_bytes(heading, min(_LINE_BYTES, size))
    room = size - len(heading.encode()) - 1
    cut = _first_bytes if section.startswith(FIRST) else _last_bytes
    return f"{heading}\n{cut(text, room)}" if text and room > len("…".encode()) else heading


def _first_bytes(text: str, size: int) -> str:
    data = text.encode()
    return text if len(data) <= size else data[: max(size - 3, 0)].decode(errors="ignore") + "…"


def _last_bytes(text: str, size: int) -> str:
    data = text.encode()
    return text if len(data) <= size else "…" + data[3 - size :].decode(errors="ignore")


def _line(text: str) -> str:
    """Return a text as one harmless line of at most 300 bytes."""
    line = _harmless(" ".join(text.split()))
    data = line.encode()
    return line if len(data) <= _LINE_BYTES else data[:_LINE_BYTES].decode(errors="ignore") + "…"


def _harmless(text: str) -> str:
    """Return a text without control characters and without mentions of everybody.

    A zero-width space after the ``@`` makes a mention ineffective.
    """
    return _MENTION.sub("@\u200b", escape_controls(text))


def _short_sha(revision: str | None) -> str:
    return (revision or "")[:7]
