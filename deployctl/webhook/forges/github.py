"""GitHub.com and GitHub Enterprise Server.

https://docs.github.com/webhooks/webhook-events-and-payloads and
https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries: the signature is an
HMAC with SHA-256 of the body as it was sent, also of a form body. The older SHA-1 header is sent
beside it and never looked at. A redelivery keeps its X-GitHub-Delivery. Each ref is a delivery of
its own; of more than three tags pushed at once there is none at all.
"""

from __future__ import annotations

from deployctl.webhook.forges.fields import check, inner, number, text
from deployctl.webhook.forges.githublike import read_as, read_status
from deployctl.webhook.forges.proof import hmac_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Event, Kind, State

NAME = "github"
HEADER = "x-hub-signature-256"
WEAKNESS: str | None = None
_KINDS: dict[str, Kind] = {"push": "push", "ping": "ping"}
# What lets a pull request be merged where the check is required.
_PASSED = ("success", "neutral", "skipped")


def verify(delivery: Delivery, secret: bytes) -> bool:
    given = delivery.headers.get(HEADER, "")
    return hmac_fits(given, secret, delivery.body, prefix="sha256=")


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-github-event"]
    forge_id = delivery.headers.get("x-github-delivery")
    event = read_as(_KINDS.get(name, "other"), name, forge_id, delivery.document)
    if name == "status":
        read_status(event, delivery.document)
    elif name in ("check_suite", "workflow_run"):
        _read_run(event, name, inner(delivery.document, name))
    return event


def _read_run(event: Event, name: str, run: dict[str, Any]) -> None:
    """A check suite of an app, or a run of a workflow; a pull request's says nothing here."""
    if text(run, "event").startswith("pull_request"):
        return
    what = text(run, "name") if name == "workflow_run" else text(run, "app", "name")
    # Several workflows may have one name, and all their suites are of one app.
    one = number(run, "workflow_id" if name == "workflow_run" else "id")
    context = " ".join(filter(None, (name, what, *one, text(run, "event"))))
    revision, branch = text(run, "head_sha"), text(run, "head_branch")
    check(event, revision, context, _state(run), [branch], mark=text(run, "updated_at"))


def _state(run: dict[str, Any]) -> State:
    if text(run, "status") != "completed":
        return "pending"
    return "success" if text(run, "conclusion") in _PASSED else "failure"
