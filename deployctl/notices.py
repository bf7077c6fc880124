"""Notices: say in a few words what became of a deployment, and see that it arrives."""

from __future__ import annotations

import re
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence

from deployctl.notify import Message, send, send_all
from deployctl.store import notices as store
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment, Failure
from deployctl.values.masking import escape_controls
from deployctl.values.notice import Notice, Sending
from deployctl.values.repo import Channel, Repo
from deployctl.values.text import FIRST, is_section, sections
from deployctl.values.times import duration

URGENT = ("failed", "rolled_back", "degraded")

# Seconds to the second, third, fourth and fifth attempt; then a sending is given up.
BACK_OFF = (60.0, 300.0, 1800.0, 7200.0)

# Seconds that a claimed sending has beyond its channel's timeout until it is taken for abandoned.
_LEASE = 60.0

_KEPT = 90 * 86400.0  # seconds; how long past notices can be looked at

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


def compose(deployment: Deployment, *, recovered: bool, host: str) -> tuple[str, str, str]:
    """Put an outcome in words -> (event, title, body).

    ``recovered``: the repo's previous finished deployment had not succeeded. The body is at most
    3,000 bytes; of a failed step it has the last lines that fit, of the evidence of a health check
    a share of each piece.
    """
    event = _event(deployment, recovered)
    head = "\n".join(filter(None, _head(deployment, host)))
    body = _GAP.join([head, *_excerpts(deployment.failure, _BODY - len(head.encode()))])
    return event, f"{deployment.repo}: {_headline(deployment, event)}", body


def subscribers(repo: Repo, event: str) -> list[str]:
    """The channels to tell, each once; a recovery is a success as well."""
    events = {event, "succeeded"} if event == "recovered" else {event}
    wanted = [entry.channel for entry in repo.notify if events & set(entry.on)]
    return list(dict.fromkeys(wanted))


def enqueue(
    connection: sqlite3.Connection,
    repo: Repo,
    deployment: Deployment,
    *,
    recovered: bool,
    now: float,
) -> None:
    """Keep the notice inside the caller's transaction; where nobody wants it, there is none."""
    channels = subscribers(repo, _event(deployment, recovered))
    if not channels:
        return
    event, title, body = compose(deployment, recovered=recovered, host=socket.gethostname())
    store.add(
        connection,
        deployment=deployment.number,
        repo=repo.name,
        event=event,
        title=title,
        body=body,
        channels=channels,
        now=now,
    )


def send_due(
    db: Database, channels: Mapping[str, Channel], *, now: Callable[[], float] = time.time
) -> int:
    """Send what is due, in rounds: the oldest notice of each channel -> how many arrived.

    A channel that fails is left alone until the next call: one that hangs costs one timeout.
    """
    _give_up_unknown(db, channels, now())
    working = dict(channels)
    sent = 0
    while claimed := _claim_oldest(db, working, now()):
        messages = [_message(working[sending.channel], notice) for notice, sending in claimed]
        for (notice, sending), error in zip(claimed, send_all(messages), strict=True):
            _record(db, notice, sending, error, now())
            if error is None:
                sent += 1
            else:
                del working[sending.channel]
    return sent


def forget(db: Database, now: float) -> None:
    """Notices of long ago, sent or not."""
    store.prune(db, now - _KEPT)


def test_notice(channel: Channel, text: str = "This channel works.") -> str | None:
    """Send a notice that is about nothing -> None, or why it did not arrive."""
    return send(channel, f"deployctl on {socket.gethostname()}: a test", text, urgent=False)


def _give_up_unknown(db: Database, channels: Mapping[str, Channel], now: float) -> None:
    for notice, sending in store.due(db, now):
        if sending.channel not in channels:
            error = (
                f"channel {sending.channel} is not in repos.yml:"
                " put it under channels, then deployctl notices --retry"
            )
            store.mark_failed(db, notice.id, sending.channel, error, None)


def _claim_oldest(
    db: Database, channels: Mapping[str, Channel], now: float
) -> list[tuple[Notice, Sending]]:
    """The oldest due notice of each channel, as far as no other sender has it."""
    oldest: dict[str, tuple[Notice, Sending]] = {}
    for notice, sending in store.due(db, now):
        if sending.channel in channels:
            oldest.setdefault(sending.channel, (notice, sending))
    until = now + _LEASE + max((channel.timeout for channel in channels.values()), default=0)
    return [
        (notice, sending)
        for notice, sending in oldest.values()
        if store.claim(db, notice.id, sending.channel, now=now, until=until)
    ]


def _message(channel: Channel, notice: Notice) -> Message:
    return Message(channel, notice.title, notice.body, urgent=notice.event in URGENT)


def _record(db: Database, notice: Notice, sending: Sending, error: str | None, now: float) -> None:
    """``sending`` is as it was before this attempt."""
    if error is None:
        store.mark_sent(db, notice.id, sending.channel, now)
        return
    pauses = BACK_OFF[sending.attempts :]
    store.mark_failed(db, notice.id, sending.channel, error, now + pauses[0] if pauses else None)


def _event(deployment: Deployment, recovered: bool) -> str:
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
