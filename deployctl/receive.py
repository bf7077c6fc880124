"""A delivery: read strictly, verified, decided once and recorded, before anybody hears of it.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json

from deployctl import forges
from deployctl.errors import ConfigError, DeployctlError
from deployctl.forges.event import Delivery, Event
from deployctl.payload import MalformedError, form_payload, parse, printable
from deployctl.store import deliveries, freezes, queue
from deployctl.store.database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from typing import Literal

    from deployctl.config.webhook import WebhookConfig, WebhookRepo
    from deployctl.forges.event import Push
    from deployctl.request import Request
    from deployctl.secret import Secret

    Result = Literal["queued", "pong", "ignored", "duplicate", "refused", "malformed", "error"]

# A forge waits 5 s (Gitea) to 10 s (GitHub) for the answer, and this process lives 10.
BUSY_TIMEOUT = 8.0
# Deployments that the same delivery does not ask for again.
SETTLED = ("queued", "running", "succeeded", "superseded")
# Whoever cannot sign may fill so many rows of the inbox.
KEPT_UNVERIFIED = 1000
# Of the answers for several repos, the one that is given.
_RANK = ("queued", "duplicate", "pong", "ignored")
# What a request for an unknown repo is verified against, so that it takes as long as any other.
_NOBODY = b"nobody's secret"


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
        return json.dumps({name: getattr(self, name) for name in names}).encode() + b"\n"


def unavailable() -> Answer:
    """What everybody hears when something here is broken; the inbox or a log says what."""
    return Answer(503, "error", "deliveries cannot be taken now; redeliver later")


def receive(
    request: Request, config: WebhookConfig, *, now: float, wake: Callable[[], object]
) -> Answer:
    """Answer one delivery, at ``now`` in seconds; ``wake`` is called once something is queued.

    :class:`DeployctlError` where a secret cannot be read or the delivery not be stored.
    """
    try:
        claim = _read(request, config, now)
    except MalformedError as error:
        return Answer(error.status, "malformed", str(error))
    try:
        trusted = _verified(claim)
    except ConfigError as error:
        _remember_stranger(claim, config, "error", str(error), now)
        raise
    answers = _settle(claim, trusted, config, now) if trusted else []
    if not answers:
        why = "its proof was used before" if trusted else _why_refused(claim)
        _remember_stranger(claim, config, "refused", why, now)
        return Answer(401, "refused", "unknown repository, or credential missing or wrong")
    answer = min(answers, key=lambda answer: _RANK.index(answer.result))
    if answer.result == "queued":
        wake()
    return answer


class _Claim:
    """A delivery before it is believed, and the repos that it may be meant for."""

    __slots__ = ("delivery", "event", "forge", "repos")

    def __init__(self, delivery: Delivery, config: WebhookConfig, path: str) -> None:
        self.delivery = delivery
        name = forges.recognise(delivery.headers, delivery.document)
        self.forge = forges.load(name) if name else None
        self.event = self.forge.read(delivery) if self.forge else Event("other", "")
        self.repos = self._meant(config, path.strip("/"))

    def _meant(self, config: WebhookConfig, name: str) -> list[WebhookRepo]:
        """The repo that the URL names, else all that follow this repository of the forge."""
        if self.forge is None:
            return []
        forge = (None, self.forge.NAME)
        return [
            repo
            for repo in config.repos.values()
            if repo.forge in forge and (repo.name == name if name else _follows(repo, self.event))
        ]

    @property
    def forge_name(self) -> str | None:
        return self.forge.NAME if self.forge else None

    @property
    def key(self) -> str:
        """What the same delivery has again when it comes again."""
        return self.event.forge_id or "sha256:" + hashlib.sha256(self.delivery.body).hexdigest()


def _read(request: Request, config: WebhookConfig, now: float) -> _Claim:
    body = request.read_body(config.max_body)
    payload = form_payload(body) if request.is_form else body
    delivery = Delivery(request.headers, body, parse(payload), payload=payload, received_at=now)
    return _Claim(delivery, config, request.path)


def _follows(repo: WebhookRepo, event: Event) -> bool:
    """By the id where both sides have one, as it outlives a renaming; else by the full name."""
    if repo.id is not None and event.repository_ids:
        return _same_id(repo.id) in map(_same_id, event.repository_ids)
    if repo.full_name is None or event.full_name is None:
        return False
    return repo.full_name.casefold() == event.full_name.casefold()


def _same_id(text: str) -> str:
    """Some forges write a UUID in braces, and its letters large or small."""
    return text.strip("{}").lower()


def _verified(claim: _Claim) -> list[WebhookRepo]:
    """The repos one of whose secrets proves who sent it."""
    forge, delivery = claim.forge, claim.delivery
    if forge is None:
        return []
    if not any(repo.secrets for repo in claim.repos):
        forge.verify(delivery, _NOBODY)
    return [
        repo
        for repo in claim.repos
        if any(forge.verify(delivery, _key(secret)) for secret in repo.secrets)
    ]


def _key(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogateescape")


def _why_refused(claim: _Claim) -> str:
    """For the inbox, that is for the operator only."""
    if claim.forge is None:
        return "no header of a forge that deployctl knows"
    if not claim.repos:
        name = printable(claim.event.full_name or "-")
        return f"no repo is meant by it (it comes from {claim.forge_name} and names {name})"
    if not any(repo.secrets for repo in claim.repos):
        return "the repo has no webhook_secret"
    return "the proof of the secret is missing or wrong"


def _remember_stranger(
    claim: _Claim, config: WebhookConfig, result: Result, reason: str, now: float
) -> None:
    """Keep what was not verified, as far as possible: the answer does not depend on it."""
    repo = claim.repos[0].name if len(claim.repos) == 1 else None
    try:
        with _database(config) as db, db.writing() as connection:
            _record(connection, claim, repo, Answer(0, result, reason), now)
            deliveries.forget_unverified(connection, KEPT_UNVERIFIED)
    except DeployctlError:
        return


def _settle(
    claim: _Claim, repos: list[WebhookRepo], config: WebhookConfig, now: float
) -> list[Answer]:
    """Decide and record for all repos in one transaction: of two equal deliveries at the same
    time one is queued and the other finds it. No answer where its proof was used before.
    """
    with _database(config) as db, db.writing() as connection:
        return [
            _settle_one(db, connection, claim, repo, now)
            for repo in repos
            if _is_new(connection, claim.event, repo, now)
        ]


def _is_new(connection: sqlite3.Connection, event: Event, repo: WebhookRepo, now: float) -> bool:
    if event.once is None:
        return True
    proof, expires_at = event.once
    return deliveries.use_proof(connection, repo.name, proof, expires_at, now)


def _settle_one(
    db: Database, connection: sqlite3.Connection, claim: _Claim, repo: WebhookRepo, now: float
) -> Answer:
    push = _wanted(claim.event, repo)
    answer = _decide(db, claim, repo, push)
    answer.delivery = _record(connection, claim, repo.name, answer, now)
    if push is None or answer.result != "queued":
        return answer
    answer.deployment = queue.enqueue(
        connection,
        repo=repo.name,
        trigger="webhook",
        actor=claim.event.actor or claim.forge_name or "",
        now=now,
        ref=push.ref,
        delivery=answer.delivery,
        subject=push.subject,
    )
    deliveries.remember_key(connection, repo.name, claim.key, answer.deployment)
    deliveries.name_deployment(connection, answer.delivery, answer.deployment)
    return answer


def _decide(db: Database, claim: _Claim, repo: WebhookRepo, push: Push | None) -> Answer:
    if claim.event.kind == "ping":
        return Answer(200, "pong", "the webhook works")
    if push is None:
        return Answer(200, "ignored", _why_unwanted(claim.event))
    known = deliveries.deployment_for_key(db, repo.name, claim.key)
    if known is not None and known[1] in SETTLED:
        answer = Answer(200, "duplicate", f"this delivery is deployment {known[0]} already")
        answer.deployment = known[0]
        return answer
    if push.revision and freezes.hold_on(db, repo.name, push.revision):
        held = f"{push.revision} is held: deployctl resume {repo.name} lets it through"
        return Answer(200, "ignored", held)
    return Answer(202, "queued", f"{printable(push.ref)} {_where(push)}")


def _where(push: Push) -> str:
    return f"is at {push.revision} now" if push.revision else "was pushed"


def _wanted(event: Event, repo: WebhookRepo) -> Push | None:
    """The last of the refs that are deployed here; what is deployed is its tip, once fetched."""
    found = [push for push in event.pushes if not push.deleted and _is_followed(push.ref, repo)]
    return found[-1] if found else None


def _is_followed(ref: str, repo: WebhookRepo) -> bool:
    if repo.tags is None:
        return ref == f"refs/heads/{repo.branch}"
    from deployctl.config.refs import tag_fits

    return tag_fits(ref, repo.tags)


def _why_unwanted(event: Event) -> str:
    if event.kind != "push":
        return f"the event {event.name} is not a push"
    if not event.pushes:
        return "the push moved no ref"
    first, *others = event.pushes
    fate = "was deleted" if first.deleted else "is not deployed here"
    more = f", nor is any of {len(others)} more" if others else ""
    return f"{printable(first.ref)} {fate}{more}"


def _record(
    connection: sqlite3.Connection, claim: _Claim, repo: str | None, answer: Answer, now: float
) -> int:
    return deliveries.record(
        connection,
        forge=claim.forge_name,
        event=claim.event.name or None,
        forge_id=claim.event.forge_id,
        repo=repo,
        result=answer.result,
        reason=answer.reason,
        received_at=now,
        deployment=answer.deployment,
    )


def _database(config: WebhookConfig) -> Database:
    return Database(config.state_dir, busy_timeout=BUSY_TIMEOUT)
