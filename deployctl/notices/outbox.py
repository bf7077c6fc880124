"""The outbox: notices are stored with the outcome they report, then sent until they arrive."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable, Mapping

from deployctl.notices.compose import compose, event_of
from deployctl.notices.messenger import Message, send, send_all
from deployctl.store import notices as store
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment
from deployctl.values.notice import Notice, Sending
from deployctl.values.repo import Channel, Repo

URGENT = ("failed", "rolled_back", "degraded")

# Seconds to the second, third, fourth and fifth attempt; then a sending is given up.
BACK_OFF = (60.0, 300.0, 1800.0, 7200.0)

# Seconds that a claimed sending has beyond its channel's timeout until it is taken for abandoned.
_LEASE = 60.0

_KEPT = 90 * 86400.0  # seconds; how long past notices can be looked at


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
    channels = subscribers(repo, event_of(deployment, recovered))
    if not channels:
        return
    store.add(
        connection,
        compose(deployment, recovered=recovered, host=socket.gethostname()),
        deployment=deployment.number,
        repo=repo.name,
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
