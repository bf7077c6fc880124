"""A delivery: read strictly, verified, decided once and recorded, before anybody hears of it.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

from deployctl import inbox
from deployctl.claim import Claim, proved, why_refused
from deployctl.decide import Case, Decision, decide
from deployctl.errors import ConfigError, DeployctlError
from deployctl.payload import MalformedError
from deployctl.store import deliveries, queue
from deployctl.store.database import Database
from deployctl.system.lean import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from deployctl.claim import Meant
    from deployctl.config.compiled import WebhookConfig, WebhookRepo
    from deployctl.decide import Result
    from deployctl.request import Request

# A forge waits 5 s (Gitea) to 10 s (GitHub) for the answer, and this process lives 10.
BUSY_TIMEOUT = 8.0
# Whoever cannot sign may fill so many rows of the inbox.
KEPT_UNVERIFIED = 1000
# Of the answers for several repos, the one that is given.
_RANK = ("queued", "duplicate", "pong", "ignored")
_STATUS = {"queued": 202, "refused": 401}


class Answer:
    """What a request is answered: ``delivery`` is its number in our inbox, for the verified."""

    __slots__ = ("delivery", "deployment", "reason", "result", "status")

    def __init__(self, status: int, result: Result, reason: str) -> None:
        self.status = status
        self.result = result
        self.reason = reason
        self.delivery: int | None = None
        self.deployment: int | None = None

    def body(self) -> bytes:
        """One JSON object, one line."""
        names = ("result", "reason", "delivery", "deployment")
        return to_json({name: getattr(self, name) for name in names}).encode() + b"\n"


def unavailable() -> Answer:
    """What everybody hears when something here is broken; the inbox or a log says what."""
    return Answer(503, "error", "deliveries cannot be taken now; redeliver later")


def receive(
    request: Request, config: WebhookConfig, *, now: float, wake: Callable[[str], object]
) -> Answer:
    """Answer one delivery, at ``now`` in seconds; ``wake`` is called with the name of a repo once
    something is queued for it.

    :class:`DeployctlError` where a secret cannot be read or the delivery not be stored.
    """
    try:
        claim = Claim(request, config, now)
    except MalformedError as error:
        _remember_malformed(request, config, str(error), now)
        return Answer(error.status, "malformed", str(error))
    try:
        trusted = proved(claim, config)
    except ConfigError as error:
        _remember_stranger(claim, config, "error", str(error))
        raise
    answers = _settle(claim, trusted, config) if trusted else []
    if not answers:
        why = "its proof was used before" if trusted else why_refused(claim, config)
        _remember_stranger(claim, config, "refused", why)
        return Answer(401, "refused", "unknown repository, or credential missing or wrong")
    for answer, repo in answers:
        if answer.result == "queued":
            wake(repo)
    return min((answer for answer, _ in answers), key=lambda answer: _RANK.index(answer.result))


def _settle(claim: Claim, trusted: list[Meant], config: WebhookConfig) -> list[tuple[Answer, str]]:
    """Decide and record for all repos in one transaction: of two equal deliveries at the same
    time one is queued and the other finds it. No answer where its proof was used before.
    """
    with _database(config) as db, db.writing() as connection:
        return [
            (_settle_one(db, connection, claim, meant), meant.repo.name)
            for meant in trusted
            if _is_new(connection, claim, meant)
        ]


def _is_new(connection: sqlite3.Connection, claim: Claim, meant: Meant) -> bool:
    if meant.event.once is None:
        return True
    proof, expires_at = meant.event.once
    now = claim.delivery.received_at
    return deliveries.use_proof(connection, meant.repo.name, proof, expires_at, now)


def _settle_one(db: Database, connection: sqlite3.Connection, claim: Claim, meant: Meant) -> Answer:
    now, key = claim.delivery.received_at, inbox.key_of(meant.event, claim.delivery)
    hider = inbox.Hider(_secrets([meant.repo]))
    case = Case(db, connection, meant.repo, meant.event, key=key, now=now)
    decision = decide(case)
    decision.reason = hider.text(decision.reason)
    if decision.order is not None and decision.order.subject is not None:
        decision.order.subject = hider.text(decision.order.subject)
    answer = Answer(_STATUS.get(decision.result, 200), decision.result, decision.reason)
    entry = _entry(claim, meant, decision.result, decision.reason)
    entry.facts = inbox.facts(meant.event, claim.path, hider, strange=False)
    answer.delivery = deliveries.record(connection, entry, _letter(claim, hider, strange=False))
    actor = hider.text(meant.event.actor or meant.forge.NAME)
    answer.deployment = carry_out(case, decision, answer.delivery, trigger="webhook", actor=actor)
    return answer


def carry_out(
    case: Case, decision: Decision, delivery: int, *, trigger: str, actor: str
) -> int | None:
    """Queue what was decided, in the same transaction -> the deployment's number, if any."""
    order, connection = decision.order, case.connection
    number = decision.deployment
    if order is not None:
        number = queue.enqueue(
            connection,
            repo=case.repo.name,
            task=order.task,
            trigger=trigger,
            actor=actor,
            now=case.now,
            ref=order.ref,
            wanted_revision=order.revision,
            rollback_to=order.rollback_to,
            awaits=order.awaits,
            by_hand=order.by_hand,
            delivery=delivery,
            subject=order.subject,
        )
    if number is not None and decision.result == "queued":
        deliveries.remember_key(connection, case.repo.name, case.key, number)
    if number is not None:
        deliveries.name_deployment(connection, delivery, number)
    return number


def _entry(claim: Claim, meant: Meant | None, result: Result, reason: str) -> deliveries.Entry:
    event = meant.event if meant else claim.event
    return deliveries.Entry(
        forge=meant.forge.NAME if meant else claim.forge_name,
        event=event.name or None,
        forge_id=event.forge_id,
        repo=meant.repo.name if meant else None,
        result=result,
        reason=reason,
        received_at=claim.delivery.received_at,
    )


def _letter(claim: Claim, hider: inbox.Hider, *, strange: bool) -> inbox.Letter:
    made = claim.delivery
    return inbox.kept(made.headers, made.payload, made.document, hider, strange=strange)


def _secrets(repos: Iterable[WebhookRepo]) -> list[str]:
    """Their values, as far as they can be read."""
    found = []
    for secret in (secret for repo in repos for secret in repo.secrets):
        try:
            found.append(secret.reveal())
        except ConfigError:
            continue
    return found


def _remember_stranger(claim: Claim, config: WebhookConfig, result: Result, reason: str) -> None:
    """Whose secret may be in it is not known: it is searched for all of them."""
    meant = claim.meant[0] if len(claim.meant) == 1 else None
    hider = inbox.Hider(_secrets(config.repos.values()), thorough=True)
    entry = _entry(claim, meant, result, reason)
    event = meant.event if meant else claim.event
    entry.facts = inbox.facts(event, claim.path, hider, strange=True)
    _remember(config, entry, _letter(claim, hider, strange=True))


def _remember_malformed(request: Request, config: WebhookConfig, reason: str, now: float) -> None:
    """A POST that cannot be read is a delivery all the same; what looks around here is none."""
    if request.method != "POST":
        return
    name = request.path.strip("/")
    entry = deliveries.Entry(
        repo=name if name in config.repos else None,
        result="malformed",
        reason=reason,
        received_at=now,
    )
    hider = inbox.Hider(_secrets(config.repos.values()), thorough=True)
    letter = inbox.kept(request.headers, request.body, None, hider, strange=True)
    _remember(config, entry, letter)


def _remember(config: WebhookConfig, entry: deliveries.Entry, letter: inbox.Letter) -> None:
    """Keep what was not verified, as far as possible: the answer does not depend on it."""
    try:
        with _database(config) as db, db.writing() as connection:
            deliveries.record(connection, entry, letter)
            deliveries.forget_unverified(connection, KEPT_UNVERIFIED)
    except DeployctlError:
        return


def _database(config: WebhookConfig) -> Database:
    return Database(config.state_dir, busy_timeout=BUSY_TIMEOUT)
