"""A delivery: read strictly, verified, decided once and recorded, before anybody hears of it.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

from deployctl.errors import ConfigError, DeployctlError
from deployctl.store import deliveries, queue
from deployctl.store.database import Database
from deployctl.system.lean import to_json
from deployctl.webhook import keep
from deployctl.webhook.decide import Case, Decision, decide
from deployctl.webhook.match import Candidates, proven_candidates, why_refused
from deployctl.webhook.payload import MalformedError
from deployctl.webhook.redact import Redactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from deployctl.config.compiled import WebhookConfig, WebhookRepo
    from deployctl.webhook.decide import Result
    from deployctl.webhook.match import Candidate
    from deployctl.webhook.request import Request

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
        candidates = Candidates(request, config, now)
    except MalformedError as error:
        _remember_malformed(request, config, str(error), now)
        return Answer(error.status, "malformed", str(error))
    try:
        trusted = proven_candidates(candidates, config)
    except ConfigError as error:
        _remember_unverified(candidates, config, "error", str(error))
        raise
    answers = _settle(candidates, trusted, config) if trusted else []
    if not answers:
        why = "its proof was used before" if trusted else why_refused(candidates, config)
        _remember_unverified(candidates, config, "refused", why)
        return Answer(401, "refused", "unknown repository, or credential missing or wrong")
    for answer, repo in answers:
        if answer.result == "queued":
            wake(repo)
    return min((answer for answer, _ in answers), key=lambda answer: _RANK.index(answer.result))


def _settle(
    candidates: Candidates, trusted: list[Candidate], config: WebhookConfig
) -> list[tuple[Answer, str]]:
    """Decide and record for all repos in one transaction: of two equal deliveries at the same
    time one is queued and the other finds it. No answer where its proof was used before.
    """
    with _database(config) as db, db.writing() as connection:
        return [
            (_settle_one(db, connection, candidates, candidate), candidate.repo.name)
            for candidate in trusted
            if _is_new(connection, candidates, candidate)
        ]


def _is_new(connection: sqlite3.Connection, candidates: Candidates, candidate: Candidate) -> bool:
    if candidate.event.once is None:
        return True
    proof, expires_at = candidate.event.once
    now = candidates.delivery.received_at
    return deliveries.use_proof(connection, candidate.repo.name, proof, expires_at, now)


def _settle_one(
    db: Database, connection: sqlite3.Connection, candidates: Candidates, candidate: Candidate
) -> Answer:
    now, key = (
        candidates.delivery.received_at,
        keep.delivery_key(candidate.event, candidates.delivery),
    )
    redactor = Redactor(_secrets([candidate.repo]))
    case = Case(db, connection, candidate.repo, candidate.event, key=key, now=now)
    decision = decide(case)
    decision.reason = redactor.text(decision.reason)
    if decision.order is not None and decision.order.subject is not None:
        decision.order.subject = redactor.text(decision.order.subject)
    answer = Answer(_STATUS.get(decision.result, 200), decision.result, decision.reason)
    entry = _entry(candidates, candidate, decision.result, decision.reason)
    entry.facts = keep.facts(candidate.event, candidates.path, redactor, verified=True)
    answer.delivery = deliveries.record(
        connection, entry, _stored(candidates, redactor, verified=True)
    )
    actor = redactor.text(candidate.event.actor or candidate.forge.NAME)
    answer.deployment = queue_decision(
        case, decision, answer.delivery, trigger="webhook", actor=actor
    )
    return answer


def queue_decision(
    case: Case, decision: Decision, delivery: int, *, trigger: str, actor: str
) -> int | None:
    """Queue what was decided, in the same transaction -> the deployment's number, if any."""
    order, connection = decision.order, case.connection
    number = decision.deployment
    if order is not None:
        number = queue.enqueue(
            connection,
            repo=case.repo.name,
            trigger=trigger,
            actor=actor,
            now=case.now,
            order=order,
            delivery=delivery,
        )
    if number is not None and decision.result == "queued":
        deliveries.remember_key(connection, case.repo.name, case.key, number)
    if number is not None:
        deliveries.name_deployment(connection, delivery, number)
    return number


def _entry(
    candidates: Candidates, candidate: Candidate | None, result: Result, reason: str
) -> deliveries.Entry:
    event = candidate.event if candidate else candidates.event
    entry = deliveries.Entry(result, reason, candidates.delivery.received_at)
    entry.forge = candidate.forge.NAME if candidate else candidates.forge_name
    entry.event, entry.forge_id = event.name or None, event.forge_id
    entry.repo = candidate.repo.name if candidate else None
    return entry


def _stored(
    candidates: Candidates, redactor: Redactor, *, verified: bool
) -> deliveries.StoredRequest:
    made = candidates.delivery
    return keep.stored_request(
        made.headers, made.payload, made.document, redactor, verified=verified
    )


def _secrets(repos: Iterable[WebhookRepo]) -> list[str]:
    """Their values, as far as they can be read."""
    found = []
    for secret in (secret for repo in repos for secret in repo.secrets):
        try:
            found.append(secret.reveal())
        except ConfigError:
            continue
    return found


def _remember_unverified(
    candidates: Candidates, config: WebhookConfig, result: Result, reason: str
) -> None:
    """Whose secret may be in it is not known: it is searched for all of them."""
    candidate = candidates.found[0] if len(candidates.found) == 1 else None
    redactor = Redactor(_secrets(config.repos.values()), thorough=True)
    entry = _entry(candidates, candidate, result, reason)
    event = candidate.event if candidate else candidates.event
    entry.facts = keep.facts(event, candidates.path, redactor, verified=False)
    _remember(config, entry, _stored(candidates, redactor, verified=False))


def _remember_malformed(request: Request, config: WebhookConfig, reason: str, now: float) -> None:
    """A POST that cannot be read is a delivery all the same; what looks around here is none."""
    if request.method != "POST":
        return
    name = request.path.strip("/")
    entry = deliveries.Entry("malformed", reason, now)
    entry.repo = name if name in config.repos else None
    redactor = Redactor(_secrets(config.repos.values()), thorough=True)
    stored = keep.stored_request(request.headers, request.body, None, redactor, verified=False)
    _remember(config, entry, stored)


def _remember(
    config: WebhookConfig, entry: deliveries.Entry, stored: deliveries.StoredRequest
) -> None:
    """Keep what was not verified, as far as possible: the answer does not depend on it."""
    try:
        with _database(config) as db, db.writing() as connection:
            deliveries.record(connection, entry, stored)
            deliveries.forget_unverified(connection, KEPT_UNVERIFIED)
    except DeployctlError:
        return


def _database(config: WebhookConfig) -> Database:
    return Database(config.state_dir, busy_timeout=BUSY_TIMEOUT)
