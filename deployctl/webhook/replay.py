"""Run a recorded delivery again, with the current repos.yml."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from deployctl.config.compiled import WebhookConfig, WebhookRepo
from deployctl.errors import RefusedError
from deployctl.store import deliveries
from deployctl.store.database import Database
from deployctl.store.delivery_records import DeliveryRecord
from deployctl.values.deployment import Origin
from deployctl.webhook.candidates import follows
from deployctl.webhook.decide import Case, Decision, decide
from deployctl.webhook.forges.event import Event
from deployctl.webhook.receive import queue_decision
from deployctl.webhook.stored_form import event_from_json

# Forges that send each other's headers.
_GITEA_FAMILY = {"gitea", "forgejo", "gogs"}


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay for one repo, recorded as a new delivery.

    ``deployment`` is the number of the deployment that was queued or existed; None: there is none.
    """

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


def replay_delivery(
    db: Database, config: WebhookConfig, record: DeliveryRecord, origin: Origin
) -> list[ReplayResult]:
    """Decide about a recorded delivery again, with the current repos.yml -> one result per repo.

    No signature is checked: a person who may replay may also deploy, and a deployment fetches from
    the configured url, not from one in the delivery. Raise RefusedError where nothing could be
    read from the delivery (malformed, or too long to store), or where it matches no repo.
    """
    if record.facts is None:
        raise RefusedError(f"delivery {record.id} could not be read ({record.reason})")
    event = event_from_json(record.facts)
    repos = _repos_of(config, record, event)
    if not repos:
        raise RefusedError(
            f"no repo of repos.yml matches delivery {record.id}: set id or full_name "
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
                now=origin.now,
                is_replay=True,
            )
            for repo in repos
        ]
        return [_replay_one(case, record, origin) for case in cases]


def _repos_of(config: WebhookConfig, record: DeliveryRecord, event: Event) -> list[WebhookRepo]:
    """Return the repo that a recorded delivery names, else those that follow its repository.

    Which repo it names is in its record, its control message, or its URL.
    """
    path = (record.facts or {}).get("path")
    name = record.repo or (event.control.repo if event.control else path)
    repos = [repo for repo in config.repos.values() if _is_of_forge(repo, record.forge)]
    if name:
        return [repo for repo in repos if repo.name == name]
    return [repo for repo in repos if follows(repo, event)]


def _is_of_forge(repo: WebhookRepo, forge: str | None) -> bool:
    """Tell whether a repo may be of this forge: ids are unique only within one forge.

    Forges of _GITEA_FAMILY count as one. A control message is for a repo of any forge.
    """
    return repo.forge in (None, forge) or forge == "control" or {repo.forge, forge} <= _GITEA_FAMILY


def _replay_one(case: Case, record: DeliveryRecord, origin: Origin) -> ReplayResult:
    decision = decide(case)
    entry = deliveries.Entry(decision.result, decision.reason, origin.now)
    entry.forge, entry.event, entry.forge_id = record.forge, record.event, record.forge_id
    entry.repo = case.repo.name
    entry.facts = json.dumps(record.facts)
    entry.replay_of = record.id
    stored = deliveries.StoredRequest(json.dumps(record.headers), record.body, record.body_size)
    delivery = deliveries.record(case.connection, entry, stored)
    number = _carry_out(case, decision, delivery, origin)
    return ReplayResult(delivery, case.repo.name, decision.result, decision.reason, number)


def _carry_out(case: Case, decision: Decision, delivery: int, origin: Origin) -> int | None:
    if decision.order is not None:
        decision.order.by_hand = True
    return queue_decision(case, decision, delivery, trigger=origin.trigger, actor=origin.actor)
