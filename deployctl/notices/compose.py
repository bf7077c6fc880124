"""Put what became of a deployment into the words of a notice."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deployctl.values.deployment import Deployment, Failure
from deployctl.values.masking import escape_controls
from deployctl.values.notice import Wording
from deployctl.values.text import FIRST, is_section, sections
from deployctl.values.times import duration

_LINE = 300  # bytes of a subject, a command and the like
_GAP = "\n\n"
_TAIL_LINES = 15
_TAIL = 1500  # bytes
_PIECES = 10  # of evidence; with more of them nobody would have room to say anything
# bytes; a push to a phone is 4 KB with all around it, and what is larger is refused
# (https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification).
_BODY = 3000

# Words that call everybody in a chat; a commit's subject must not.
_CALL = re.compile(r"@(?=(?:everyone|here|channel|all)\b|[&!]?\d+>)", re.IGNORECASE)


def compose(deployment: Deployment, *, recovered: bool, host: str) -> Wording:
    """Put what became of a deployment into words.

    ``recovered``: the repo's previous finished deployment had not succeeded. The body is at most
    3,000 bytes; of a failed step it has the last lines that fit, of the evidence of a health check
    a share of each piece.
    """
    event = event_of(deployment, recovered)
    head = "\n".join(filter(None, _head(deployment, host)))
    body = _GAP.join([head, *_excerpts(deployment.failure, _BODY - len(head.encode()))])
    return Wording(event, f"{deployment.repo}: {_headline(deployment, event)}", body)


def event_of(deployment: Deployment, recovered: bool) -> str:
    """Return the name of the event that a notice of this deployment reports now."""
    if deployment.status == "running":
        return "started"
    if deployment.went_back_by_itself:
        return "rolled_back"
    return "recovered" if recovered and deployment.status == "succeeded" else deployment.status


def _headline(deployment: Deployment, event: str) -> str:
    new = _short(deployment.revision or deployment.wanted_revision)
    old = _short(deployment.previous_revision)
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


def _head(deployment: Deployment, host: str) -> list[str]:
    """What happened, line by line; empty where there is nothing to say."""
    took = f", took {duration(deployment.duration)}" if deployment.duration is not None else ""
    ref = (deployment.ref or "").removeprefix("refs/heads/").removeprefix("refs/")
    revision = _short(deployment.revision or deployment.wanted_revision)
    return [
        _line(deployment.subject or ""),
        f"{revision} on {_line(ref)}" if ref else revision,
        f"by {_line(deployment.actor)} ({deployment.trigger}){took}",
        *_slow_stages(deployment),
        f"deployment {deployment.number} on {host}",
        *_what_went_wrong(deployment),
        f"more: deployctl logs {deployment.number}",
    ]


def _slow_stages(deployment: Deployment) -> list[str]:
    return [
        f"{_line(stage.name)} took {duration(stage.duration)}, usually {duration(stage.usual)}"
        for stage in deployment.stages
        if stage.slow and deployment.finished
    ]


def _what_went_wrong(deployment: Deployment) -> list[str]:
    """The failure and the reason, where that is not the same."""
    told = _failure(deployment.failure) if deployment.failure else []
    reason = _line(deployment.reason or "")
    return told if reason in told else [*(each for each in told if each not in reason), reason]


def _failure(failure: Failure) -> list[str]:
    where = failure.stage + (f" on {failure.host}" if failure.host else "")
    command = f": {_line(failure.command)}" if failure.command else ""
    how = _how(failure)
    told = not how or how in failure.message
    message = failure.message if told else f"{how}: {failure.message}"
    return [f"failed in {_line(where)}{command}", _line(message)]


def _how(failure: Failure) -> str:
    if failure.timed_out:
        return "timed out"
    if failure.signal:
        return f"killed by {failure.signal}"
    return f"exit code {failure.exit_code}" if failure.exit_code is not None else ""


def _excerpts(failure: Failure | None, room: int) -> list[str]:
    """What of a failure's tail fits into that many bytes."""
    parts = sections(failure.tail)[:_PIECES] if failure else []
    parts = [_shown(part).rstrip() for part in parts]
    if failure and len(parts) == 1 and not is_section(parts[0]):
        lines, size = parts[0].split("\n"), min(_TAIL, room)
        if failure.is_of_answer:
            return [_beginning("\n".join(lines[:_TAIL_LINES]), size)]
        return [_end("\n".join(lines[-_TAIL_LINES:]), size)]
    sizes = _shares([len(part.encode()) for part in parts], room - len(_GAP) * len(parts))
    return [_excerpt(part, size) for part, size in zip(parts, sizes, strict=True)]


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """An equal part of the room for everybody; who wants less leaves the rest to the others."""
    shares = [0] * len(wanted)
    for served, index in enumerate(sorted(range(len(wanted)), key=lambda each: wanted[each])):
        equal = (room - sum(shares)) // (len(wanted) - served)
        shares[index] = max(min(wanted[index], equal), 0)
    return shares


def _excerpt(section: str, size: int) -> str:
    """Its heading and, of the lines below it, the end that says most."""
    heading, _, text = section.partition("\n")
    heading = _beginning(heading, min(_LINE, size))
    room = size - len(heading.encode()) - 1
    cut = _beginning if section.startswith(FIRST) else _end
    return f"{heading}\n{cut(text, room)}" if text and room > len("…".encode()) else heading


def _beginning(text: str, size: int) -> str:
    data = text.encode()
    return text if len(data) <= size else data[: max(size - 3, 0)].decode(errors="ignore") + "…"


def _end(text: str, size: int) -> str:
    data = text.encode()
    return text if len(data) <= size else "…" + data[3 - size :].decode(errors="ignore")


def _line(text: str) -> str:
    line = _shown(" ".join(text.split()))
    data = line.encode()
    return line if len(data) <= _LINE else data[:_LINE].decode(errors="ignore") + "…"


def _shown(text: str) -> str:
    """Nothing in a foreign text acts on a screen or calls people: a zero-width space breaks it."""
    return _CALL.sub("@\u200b", escape_controls(text))


def _short(revision: str | None) -> str:
    return (revision or "")[:7]
