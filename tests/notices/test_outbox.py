from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployctl.notices import outbox
from deployctl.store import notices as store
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment
from deployctl.values.notice import Notice, Sending
from deployctl.values.repo import Channel, Repo, Subscription
from deployctl.values.secret import Secret
from tests.support.bark import KEY, bark

NEW, OLD = "3f2a9c1" + "0" * 33, "1a2b3c4" + "0" * 33

DEPLOYED = Deployment(
    number=7,
    repo="blog",
    task="deploy",
    trigger="webhook",
    actor="alice",
    status="succeeded",
    queued_at=100,
    started_at=100,
    finished_at=112.4,
    ref="refs/heads/main",
    revision=NEW,
    previous_revision=OLD,
    subject="Fix the door",
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(str(tmp_path / "state")) as database:
        yield database


def repo(*subscriptions: tuple[str, tuple[str, ...]]) -> Repo:
    entries = tuple(Subscription(channel, on) for channel, on in subscriptions)
    return Repo(name="blog", url="ssh://host/blog", path="/srv/blog", notify=entries)


ALL_EVENTS = ("started", "succeeded", "failed", "rolled_back", "degraded", "recovered")


def enqueue(db: Database, deployment: Deployment, *channels: str, at: float = 100) -> None:
    with db.writing() as connection:
        outbox.enqueue(
            connection,
            repo(*((channel, ALL_EVENTS) for channel in channels)),
            deployment,
            recovered=False,
            now=at,
        )


def deployment_number(number: int) -> Deployment:
    """Return a deployment whose notice has a title of its own."""
    return replace(DEPLOYED, number=number, revision=f"{number:07}")


def clock(instant: float) -> Callable[[], float]:
    return lambda: instant


def sendings(db: Database) -> list[Sending]:
    return [sending for notice in store.history(db, 100) for sending in notice.sendings]


def test_a_channel_gets_the_events_that_it_subscribed_to() -> None:
    wanted = repo(
        ("phone", ("failed", "degraded")), ("mail", ("succeeded",)), ("phone", ("failed",))
    )
    assert outbox.subscribers(wanted, "failed") == ["phone"]
    assert outbox.subscribers(wanted, "succeeded") == ["mail"]
    assert outbox.subscribers(wanted, "started") == []


def test_a_recovery_goes_once_to_each_subscriber_of_recovered_or_succeeded() -> None:
    wanted = repo(("phone", ("failed", "recovered")), ("mail", ("succeeded", "recovered")))
    assert outbox.subscribers(wanted, "recovered") == ["phone", "mail"]
    assert outbox.subscribers(repo(("mail", ("succeeded",))), "recovered") == ["mail"]
    assert outbox.subscribers(wanted, "succeeded") == ["mail"]


def test_a_notice_without_subscribers_is_not_stored(db: Database) -> None:
    enqueue(db, DEPLOYED)
    enqueue(db, replace(DEPLOYED, status="cancelled"), "phone")
    assert store.history(db, 10) == []


def test_a_notice_is_stored_with_its_deployment_and_sent_once(db: Database) -> None:
    enqueue(db, DEPLOYED, "phone")
    with bark() as server:
        channels = {"phone": server.channel()}
        assert outbox.send_due(db, channels, now=clock(105)) == 1
        assert outbox.send_due(db, channels, now=clock(10**9)) == 0
    assert server.titles == ["blog: deployed 3f2a9c1"]
    notice: Notice = store.history(db, 1)[0]
    assert (notice.deployment, notice.repo, notice.event) == (7, "blog", "succeeded")
    assert notice.created_at == 100
    assert notice.sendings == (Sending("phone", "sent", 1, None, 105),)


def test_notices_arrive_in_the_order_of_their_deployments(db: Database) -> None:
    for number in (1, 2, 3):
        enqueue(db, deployment_number(number), "phone")
    with bark() as server:
        assert outbox.send_due(db, {"phone": server.channel()}, now=clock(100)) == 3
    assert server.titles == [f"blog: deployed 000000{number}" for number in (1, 2, 3)]


def test_a_failed_attempt_is_repeated_later_and_its_error_contains_no_secret(db: Database) -> None:
    enqueue(db, DEPLOYED, "phone")
    with bark("error", "well") as server:
        channels = {"phone": server.channel()}
        assert outbox.send_due(db, channels, now=clock(100)) == 0
        assert outbox.send_due(db, channels, now=clock(159)) == 0
        assert len(server.titles) == 1
        assert outbox.send_due(db, channels, now=clock(160)) == 1
    (sending,) = sendings(db)
    assert (sending.state, sending.attempts, sending.sent_at) == ("sent", 2, 160)
    assert sending.last_error is not None
    assert "error=500" in sending.last_error
    assert KEY not in sending.last_error


def test_after_five_attempts_a_sending_is_given_up(db: Database) -> None:
    enqueue(db, DEPLOYED, "phone")
    channels = {"phone": Channel("phone", Secret("env:DEPLOYCTL_TEST_NO_SUCH_VARIABLE"))}
    waits, now = [], 100.0
    while (due_at := sendings(db)[0].due_at) is not None:
        waits.append(due_at - now)
        now = due_at
        assert outbox.send_due(db, channels, now=clock(now)) == 0
    assert waits == [0, 60, 300, 1800, 7200]
    (sending,) = sendings(db)
    assert (sending.state, sending.attempts) == ("failed", 5)
    assert sending.last_error == (
        "channel phone: the environment variable DEPLOYCTL_TEST_NO_SUCH_VARIABLE"
        " is empty or not set: put the secret there"
    )


def test_a_failed_sending_delays_neither_other_channels_nor_later_notices(
    db: Database,
) -> None:
    for number in (1, 2):
        enqueue(db, deployment_number(number), "phone", "watch")
    with bark("error", "well") as bad, bark() as good:
        channels = {"phone": bad.channel(), "watch": good.channel("watch")}
        assert outbox.send_due(db, channels, now=clock(100)) == 2
        assert (len(bad.titles), len(good.titles)) == (1, 2)
        assert outbox.send_due(db, channels, now=clock(101)) == 1
        assert outbox.send_due(db, channels, now=clock(160)) == 1
    assert bad.titles[1:] == ["blog: deployed 0000002", "blog: deployed 0000001"]


def test_a_sending_to_an_unknown_channel_is_given_up_and_the_fix_is_named(db: Database) -> None:
    enqueue(db, DEPLOYED, "phone")
    assert outbox.send_due(db, {}, now=clock(100)) == 0
    (sending,) = sendings(db)
    assert (sending.state, sending.last_error) == (
        "failed",
        "channel phone is not in repos.yml: put it under channels, then deployctl notices --retry",
    )


def test_concurrent_senders_send_each_notice_once(db: Database, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        enqueue(db, deployment_number(number), "phone")
    with bark() as server:
        channels = {"phone": server.channel()}

        def send_all_due() -> None:
            with Database(str(tmp_path / "state")) as own:
                outbox.send_due(own, channels, now=clock(100))

        workers = [threading.Thread(target=send_all_due) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert sorted(server.titles) == [f"blog: deployed 000000{number}" for number in (1, 2, 3)]
    assert {(sending.state, sending.attempts) for sending in sendings(db)} == {("sent", 1)}


def test_a_sending_that_a_dead_process_reserved_is_sent_after_that_time(db: Database) -> None:
    enqueue(db, DEPLOYED, "phone")
    with bark() as server:
        channels = {"phone": server.channel(timeout=20)}
        number = store.history(db, 1)[0].id
        assert store.reserve(db, number, "phone", now=100, until=180)
        assert outbox.send_due(db, channels, now=clock(179)) == 0
        assert outbox.send_due(db, channels, now=clock(180)) == 1


def test_a_test_message_needs_no_deployment() -> None:
    with bark() as server:
        assert outbox.test_notice(server.channel()) is None
    assert len(server.titles) == 1
    assert server.titles[0].startswith("deployctl on ")
    assert server.titles[0].endswith(": a test")
