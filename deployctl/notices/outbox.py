"""The outbox: store notices in the record, and send them to their channels until they arrive.

A notice is stored in the same transaction as the outcome that it reports. A sending is one notice
on its way to one channel.
"""

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

# Seconds before the second, third, fourth and fifth attempt; after that, a sending is given up.
BACK_OFF = (60.0, 300.0, 1800.0, 7200.0)

# A process reserves a sending before it sends it. If it dies, another process may send it this many
# seconds after the channel's timeout.
_RESERVED_SECONDS = 60.0

_KEPT_SECONDS = 90 * 86400.0  # how long notices stay in the record


def subscribers(repo: Repo, event: str) -> list[str]:
    """Return the names of the channels that get a notice of this event, each once.

    A recovery is a success as well.
    """
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
    """Store the notice about a deployment, inside the caller's transaction.

    Nothing is stored if no channel of the repo wants it. ``recovered`` is that of
    :func:`~deployctl.notices.compose.compose`, ``now`` is in seconds since the epoch.
    """
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
    """Send all sendings that are due; return how many arrived.

    Each round sends the oldest notice of each channel, all at the same time. A channel that failed
    is not used again in this call, so a channel that hangs costs only one timeout. A sending to a
    channel that is not in ``channels``, by name, is given up.
    """
    _give_up_unknown(db, channels, now())
    working = dict(channels)
    sent = 0
    while reserved := _reserve_oldest(db, working, now()):
        messages = [_message(working[sending.channel], notice) for notice, sending in reserved]
        for (notice, sending), error in zip(reserved, send_all(messages), strict=True):
            _store_result(db, notice, sending, error, now())
            if error is None:
                sent += 1
            else:
                del working[sending.channel]
    return sent


def delete_old_notices(db: Database, now: float) -> None:
    """Delete notices older than 90 days from the record, sent or not."""
    store.prune(db, now - _KEPT_SECONDS)


def test_notice(channel: Channel, text: str = "This channel works.") -> str | None:
    """Send a test message to a channel; return None, or why it did not arrive."""
    return send(channel, f"deployctl on {socket.gethostname()}: a test", text, urgent=False)


def _give_up_unknown(db: Database, channels: Mapping[str, Channel], now: float) -> None:
    for notice, sending in store.due(db, now):
        if sending.channel not in channels:
            error = (
                f"channel {sending.channel} is not in repos.yml:"
                " put it under channels, then deployctl notices --retry"
            )
            store.mark_failed(db, notice.id, sending.channel, error, None)


def _reserve_oldest(
    db: Database, channels: Mapping[str, Channel], now: float
) -> list[tuple[Notice, Sending]]:
    """Reserve the oldest due sending of each channel, and return these sendings.

    Leave out those that another process reserved first. Each :class:`Sending` is as it was before.
    """
    oldest: dict[str, tuple[Notice, Sending]] = {}
    for notice, sending in store.due(db, now):
        if sending.channel in channels:
            oldest.setdefault(sending.channel, (notice, sending))
    until = (
        now + _RESERVED_SECONDS + max((channel.timeout for channel in channels.values()), default=0)
    )
    return [
        (notice, sending)
        for notice, sending in oldest.values()
        if store.reserve(db, notice.id, sending.channel, now=now, until=until)
    ]


def _message(channel: Channel, notice: Notice) -> Message:
    return Message(channel, notice.title, notice.body, urgent=notice.event in URGENT)


def _store_result(
    db: Database, notice: Notice, sending: Sending, error: str | None, now: float
) -> None:
    """Store the result of an attempt; ``sending`` is as it was before."""
    if error is None:
        store.mark_sent(db, notice.id, sending.channel, now)
        return
    pauses = BACK_OFF[sending.attempts :]
    store.mark_failed(db, notice.id, sending.channel, error, now + pauses[0] if pauses else None)
