"""GitHub.com and GitHub Enterprise Server.

https://docs.github.com/webhooks/webhook-events-and-payloads and
https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries: the signature is an
HMAC with SHA-256 of the body as it was sent, also of a form body. The older header with SHA-1 is
sent too, and ignored here. A redelivery keeps its X-GitHub-Delivery. Each ref has a delivery of its
own; if more than three tags are pushed at once, GitHub sends none for them.
"""

from __future__ import annotations

from deployctl.webhook.forges.fields import nested, number_as_ids, set_check, text
from deployctl.webhook.forges.githublike import read_event, read_status
from deployctl.webhook.forges.proof import hmac_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Event, Kind, State

NAME = "github"
HEADER = "x-hub-signature-256"
WEAKNESS: str | None = None
_KINDS: dict[str, Kind] = {"push": "push", "ping": "ping"}
# These conclusions of a required check let a pull request be merged.
_PASSED = ("success", "neutral", "skipped")


def verify(delivery: Delivery, secret: bytes) -> bool:
    given = delivery.headers.get(HEADER, "")
    return hmac_matches(given, secret, delivery.body, prefix="sha256=")


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-github-event"]
    forge_id = delivery.headers.get("x-github-delivery")
    event = read_event(_KINDS.get(name, "other"), name, forge_id, delivery.document)
    if name == "status":
        read_status(event, delivery.document)
    elif name in ("check_suite", "workflow_run"):
        _read_run(event, name, nested(delivery.document, name))
    return event


def _read_run(event: Event, name: str, run: dict[str, Any]) -> None:
    """Set the check of an event from a check suite of an app or from a run of a workflow.

    A run for a pull request is ignored.
    """
    if text(run, "event").startswith("pull_request"):
        return
    title = text(run, "name") if name == "workflow_run" else text(run, "app", "name")
    # The id makes the context unique: workflows may have the same name, and their check suites
    # all belong to one app.
    ids = number_as_ids(run, "workflow_id" if name == "workflow_run" else "id")
    context = " ".join(filter(None, (name, title, *ids, text(run, "event"))))
    revision, branch = text(run, "head_sha"), text(run, "head_branch")
    set_check(event, revision, context, _state(run), [branch], mark=text(run, "updated_at"))


def _state(run: dict[str, Any]) -> State:
    if text(run, "status") != "completed":
        return "pending"
    return "success" if text(run, "conclusion") in _PASSED else "failure"
