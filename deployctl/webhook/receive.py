"""Receive a delivery: parse, verify, decide, record and queue it before the answer is sent.

Every delivery loads this module, so it imports nothing that is slow to load.
"""

from __future__ import annotations

from deployctl.errors import ConfigError, DeployctlError
from deployctl.store import deliveries, queue
from deployctl.store.database import Database
from deployctl.system.fast_imports import to_json
from deployctl.webhook import stored_form
from deployctl.webhook.candidates import Candidates, proven_candidates, refusal_reason
from deployctl.webhook.decide import Case, Decision, decide
from deployctl.webhook.payload import MalformedError
from deployctl.webhook.redact import Redactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from deployctl.config.compiled import WebhookConfig, WebhookRepo
    from deployctl.webhook.candidates import Candidate
    from deployctl.webhook.decide import Result
    from deployctl.webhook.request import Request

# In seconds. A forge waits 5 s (Gitea) to 10 s (GitHub) for the answer, and this process ends
# after 10 s.
BUSY_TIMEOUT = 8.0
# So many deliveries that no secret verified are kept in the record: anybody can send them.
KEPT_UNVERIFIED = 1000
# If a delivery is for several repos, the answer is the first of these that occurs.
_RANK = ("queued", "duplicate", "pong", "ignored")
_STATUS = {"queued": 202, "refused": 401}


class Answer:
    """The answer to a request.

    ``delivery`` is its id in the record, None for a delivery that was not verified; ``deployment``
    is the number of the deployment that was queued or existed, if any.
    """

    __slots__ = ("delivery", "deployment", "reason", "result", "status")

    def __init__(self, status: int, result: Result, reason: str) -> None:
        self.status = status
        self.result = result
        self.reason = reason
        self.delivery: int | None = None
        self.deployment: int | None = None

    def body(self) -> bytes:
        """Return the body of the answer: one JSON object on one line."""
        names = ("result", "reason", "delivery", "deployment")
        return to_json({name: getattr(self, name) for name in names}).encode() + b"\n"


def unavailable() -> Answer:
    """Return the answer to any request while something here is broken.

    The cause is not in the answer, but in the record or in ``logs/webhook.log``.
    """
    return Answer(503, "error", "deliveries cannot be taken now; redeliver later")


def receive(
    request: Request, config: WebhookConfig, *, now: float, wake: Callable[[str], object]
) -> Answer:
    """Handle one delivery and return the answer; ``now`` is in seconds.

    ``wake`` is called with the name of each repo for which a deployment was queued, after the
    commit. Raise :class:`DeployctlError` if a secret cannot be read or the delivery not be stored.
    """
    try:
        candidates = Candidates(request, config, now)
    except MalformedError as error:
        _record_malformed(request, config, str(error), now)
        return Answer(error.status, "malformed", str(error))
    try:
        verified = proven_candidates(candidates, config)
    except ConfigError as error:
        _record_unverified(candidates, config, "error", str(error))
        raise
    answers = _decide_all(candidates, verified, config) if verified else []
    if not answers:
        reason = "its proof was used before" if verified else refusal_reason(candidates, config)
        _record_unverified(candidates, config, "refused", reason)
        return Answer(401, "refused", "unknown repository, or credential missing or wrong")
    for answer, repo in answers:
        if answer.result == "queued":
            wake(repo)
    return min((answer for answer, _ in answers), key=lambda answer: _RANK.index(answer.result))


def _decide_all(
    candidates: Candidates, verified: list[Candidate], config: WebhookConfig
) -> list[tuple[Answer, str]]:
    """Decide, record and queue for all repos; return the answers, each with the repo's name.

    All is done in one transaction: if two equal deliveries arrive at the same time, the first is
    queued and the second is a duplicate of it. A repo gets no answer if the proof was used before.
    """
    with _database(config) as db, db.writing() as connection:
        return [
            (_decide_one(db, connection, candidates, candidate), candidate.repo.name)
            for candidate in verified
            if _use_proof(connection, candidates, candidate)
        ]


def _use_proof(
    connection: sqlite3.Connection, candidates: Candidates, candidate: Candidate
) -> bool:
    """Mark a single-use proof as used for this repo; return False if it was used before."""
    if candidate.event.single_use is None:
        return True
    proof, expires_at = candidate.event.single_use
    now = candidates.delivery.received_at
    return deliveries.use_proof_once(connection, candidate.repo.name, proof, expires_at, now)


def _decide_one(
    db: Database, connection: sqlite3.Connection, candidates: Candidates, candidate: Candidate
) -> Answer:
    now, key = (
        candidates.delivery.received_at,
        stored_form.delivery_key(candidate.event, candidates.delivery),
    )
    redactor = Redactor(_readable_secrets([candidate.repo]))
    case = Case(db, connection, candidate.repo, candidate.event, key=key, now=now)
    decision = decide(case)
    decision.reason = redactor.redact(decision.reason)
    if decision.order is not None and decision.order.subject is not None:
        decision.order.subject = redactor.redact(decision.order.subject)
    answer = Answer(_STATUS.get(decision.result, 200), decision.result, decision.reason)
    entry = _entry(candidates, candidate, decision.result, decision.reason)
    entry.facts = stored_form.facts(candidate.event, candidates.path, redactor, verified=True)
    answer.delivery = deliveries.record(
        connection, entry, _stored_request(candidates, redactor, verified=True)
    )
    actor = redactor.redact(candidate.event.actor or candidate.forge.NAME)
    answer.deployment = queue_decision(
        case, decision, answer.delivery, trigger="webhook", actor=actor
    )
    return answer


def queue_decision(
    case: Case, decision: Decision, delivery: int, *, trigger: str, actor: str
) -> int | None:
    """Queue the order of a decision, in the transaction of ``case`` -> the deployment's number.

    None where there is no deployment, neither a new one nor one that existed. ``delivery`` is the
    id of the delivery in the record.
    """
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


def _stored_request(
    candidates: Candidates, redactor: Redactor, *, verified: bool
) -> deliveries.StoredRequest:
    delivery = candidates.delivery
    return stored_form.stored_request(
        delivery.headers, delivery.payload, delivery.document, redactor, verified=verified
    )


def _readable_secrets(repos: Iterable[WebhookRepo]) -> list[str]:
    """Return the values of the repos' secrets, without those that cannot be read."""
    values = []
    for secret in (secret for repo in repos for secret in repo.secrets):
        try:
            values.append(secret.reveal())
        except ConfigError:
            continue
    return values


def _record_unverified(
    candidates: Candidates, config: WebhookConfig, result: Result, reason: str
) -> None:
    """Record a delivery that no secret verified, for the operator.

    It may contain the secret of any repo, so all of them are hidden in it.
    """
    candidate = candidates.found[0] if len(candidates.found) == 1 else None
    redactor = Redactor(_readable_secrets(config.repos.values()), thorough=True)
    entry = _entry(candidates, candidate, result, reason)
    event = candidate.event if candidate else candidates.event
    entry.facts = stored_form.facts(event, candidates.path, redactor, verified=False)
    _record(config, entry, _stored_request(candidates, redactor, verified=False))


def _record_malformed(request: Request, config: WebhookConfig, reason: str, now: float) -> None:
    """Record a POST that cannot be parsed; requests with other methods are not deliveries."""
    if request.method != "POST":
        return
    name = request.path.strip("/")
    entry = deliveries.Entry("malformed", reason, now)
    entry.repo = name if name in config.repos else None
    redactor = Redactor(_readable_secrets(config.repos.values()), thorough=True)
    stored = stored_form.stored_request(
        request.headers, request.body, None, redactor, verified=False
    )
    _record(config, entry, stored)


def _record(
    config: WebhookConfig, entry: deliveries.Entry, stored: deliveries.StoredRequest
) -> None:
    """Record what was not verified; errors are ignored, as the answer does not depend on it."""
    try:
        with _database(config) as db, db.writing() as connection:
            deliveries.record(connection, entry, stored)
            deliveries.forget_unverified(connection, KEPT_UNVERIFIED)
    except DeployctlError:
        return


def _database(config: WebhookConfig) -> Database:
    return Database(config.state_dir, busy_timeout=BUSY_TIMEOUT)
