"""The inbox for people: why a delivery was taken or not, one run again, one made to try it out."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from deployctl.claim import follows
from deployctl.config.compiled import WebhookConfig, WebhookRepo
from deployctl.decide import Case, Decision, decide
from deployctl.errors import DeployctlError, RefusedError, UsageError
from deployctl.forges import samples
from deployctl.forges.event import Event
from deployctl.inbox import Letter, event_from_json
from deployctl.receive import carry_out
from deployctl.releases.site import Site, remote_tip
from deployctl.store import deliveries, delivery_records, deployments
from deployctl.store.database import Database
from deployctl.store.delivery_records import DeliveryRecord
from deployctl.values.deployment import Deployment, Request
from deployctl.values.repo import Repo

_STATUS = {"refused": 401, "error": 503}
_FAMILY = {"gitea", "forgejo", "gogs"}
# What a forge waits at the most, in seconds.
_PATIENCE = 15.0


def find(db: Database, number: int) -> DeliveryRecord:
    """One delivery whole; UsageError where there is none of that number."""
    found = delivery_records.get(db, number)
    if found is None:
        raise UsageError(f"no delivery {number}; see: deployctl delivery list")
    return found


# Why


def explain(db: Database, record: DeliveryRecord) -> str:
    """One sentence that a person understands."""
    answered = f" (answered {_STATUS[record.result]})" if record.result in _STATUS else ""
    sentence = f"{record.result}{answered}: {record.reason}"
    tells = record.deployment is not None and record.result != "ignored"
    found = deployments.get(db, record.deployment or 0) if tells else None
    return f"{sentence}; {_fate(found)}" if found else sentence


def next_step(record: DeliveryRecord) -> str | None:
    """What a person can do about it; None where there is nothing to mend."""
    if record.result == "refused" and record.facts is not None:
        return f"mend that, then: deployctl delivery replay {record.id}"
    if record.result in {"refused", "malformed"}:
        return f"look at it: deployctl delivery show {record.id}"
    if record.result == "error":
        return "mend that, then redeliver it at the forge, or: deployctl sync"
    return None


def _fate(deployment: Deployment) -> str:
    name = f"deployment #{deployment.number}"
    if deployment.status == "queued":
        return f"{name} waits: {deployment.reason or 'its turn will come'}"
    if deployment.status == "running":
        return f"{name} is running"
    if deployment.failure is not None:
        failure = deployment.failure
        return f"{name} {deployment.status} in {failure.stage}: {failure.message}"
    because = f" ({deployment.reason})" if deployment.reason else ""
    return f"{name} {deployment.status}{because}"


# Again


@dataclass(frozen=True)
class Replayed:
    """What became of a delivery that was run again, as a new entry of the inbox."""

    delivery: int
    repo: str
    result: str
    reason: str
    deployment: int | None

    def to_json(self) -> dict[str, Any]:
        return {
            "delivery": self.delivery,
            "repo": self.repo,
            "result": self.result,
            "reason": self.reason,
            "deployment": self.deployment,
        }


def replay(
    db: Database, config: WebhookConfig, record: DeliveryRecord, request: Request
) -> list[Replayed]:
    """Decide upon a delivery once more, by the repos.yml of now -> what became of it, per repo.

    Whoever may ask for this may deploy, so no proof is asked for: what is deployed is fetched from
    the configured url whatever the delivery says. RefusedError where nothing of it can be run.
    """
    if record.facts is None:
        raise RefusedError(f"delivery {record.id} could not be read ({record.reason})")
    event = event_from_json(record.facts)
    meant = _meant(config, record, event)
    if not meant:
        raise RefusedError(
            f"no repo of repos.yml is meant by delivery {record.id}: set id or full_name "
            f"(see: deployctl delivery show {record.id})"
        )
    with db.writing() as connection:
        cases = [
            Case(
                db,
                connection,
                repo,
                event,
                key=event.key or f"replay of {record.id}",
                now=request.now,
                again=True,
            )
            for repo in meant
        ]
        return [_replay_one(case, record, request) for case in cases]


def _meant(config: WebhookConfig, record: DeliveryRecord, event: Event) -> list[WebhookRepo]:
    """The repo it was recorded for, else those that it is meant for by now."""
    path = (record.facts or {}).get("path")
    name = record.repo or (event.control.repo if event.control else path)
    repos = [repo for repo in config.repos.values() if _is_of(repo, record.forge)]
    if name:
        return [repo for repo in repos if repo.name == name]
    return [repo for repo in repos if follows(repo, event)]


def _is_of(repo: WebhookRepo, forge: str | None) -> bool:
    """Ids are unique within a forge only; those that send each other's headers count as one."""
    return repo.forge in (None, forge) or forge == "control" or {repo.forge, forge} <= _FAMILY


def _replay_one(case: Case, record: DeliveryRecord, request: Request) -> Replayed:
    decision = decide(case)
    entry = deliveries.Entry(
        forge=record.forge,
        event=record.event,
        forge_id=record.forge_id,
        repo=case.repo.name,
        result=decision.result,
        reason=decision.reason,
        received_at=request.now,
        facts=json.dumps(record.facts),
        replay_of=record.id,
    )
    letter = Letter(json.dumps(record.headers), record.body, record.body_size)
    delivery = deliveries.record(case.connection, entry, letter)
    number = _carry_out(case, decision, delivery, request)
    return Replayed(delivery, case.repo.name, decision.result, decision.reason, number)


def _carry_out(case: Case, decision: Decision, delivery: int, request: Request) -> int | None:
    if decision.order is not None:
        decision.order.by_hand = True
    return carry_out(case, decision, delivery, trigger=request.trigger, actor=request.actor)


# Made to try it out


@dataclass(frozen=True)
class Sent:
    """What the real URL answered; ``answer`` is its JSON, None where it is none of ours."""

    url: str
    status: int
    answer: dict[str, Any] | None
    text: str

    @property
    def ok(self) -> bool:
        return self.answer is not None and 200 <= self.status < 300

    def to_json(self) -> dict[str, Any]:
        return {"url": self.url, "status": self.status, "answer": self.answer}


def make_push(site: Site, now: float) -> tuple[dict[str, str], bytes]:
    """A push of the tip of the branch (or of the newest tag), as the repo's forge would sign it."""
    repo = site.repo
    tip, live = remote_tip(site), site.layout.live()
    sample = samples.Sample(
        ref=tip.ref,
        revision=tip.revision,
        before=(live.revision if live else None) or samples.ZEROS,
        number=str(uuid.uuid4()),
        now=now,
        repository_id=repo.id,
        full_name=repo.full_name,
    )
    return samples.push(repo.forge or "github", sample, _secret(repo))


def make_order(
    repo: Repo, action: str, to: str | None, request: Request
) -> tuple[dict[str, str], bytes]:
    """A control message, signed."""
    number = f"msg_{uuid.uuid4().hex}"
    sample = samples.Sample("", "", number, request.now, actor=request.actor)
    return samples.order(action, repo.name, to, sample, _secret(repo))


def _secret(repo: Repo) -> bytes:
    if not repo.webhook_secrets:
        raise UsageError(f"{repo.name} has no webhook_secret: set one, here and at the forge")
    return repo.webhook_secrets[0].reveal().encode("utf-8", "surrogateescape")


def send(url: str, headers: dict[str, str], body: bytes) -> Sent:
    """POST it as a forge does: no redirect is followed, no proxy of this shell is used."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.post(
                url, body, headers=headers, timeout=_PATIENCE, allow_redirects=False
            )
        except requests.RequestException as error:
            raise DeployctlError(
                f"cannot reach {url}: {error}; is that the URL that the forge has, and does the "
                "web server run?"
            ) from error
    return Sent(url, response.status_code, _answer(response.text), response.text)


def _answer(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    ours = isinstance(document, dict) and {"result", "reason"} <= document.keys()
    return document if ours else None
