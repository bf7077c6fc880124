"""GitLab, and what Codeup has in common with it.

https://docs.gitlab.com/user/project/integrations/webhooks and .../webhook_events: a hook has a
secret token, sent as it is, or a signing token (``whsec_…``), used as Standard Webhooks say.
Each ref is a delivery of its own; of more than three refs pushed at once there is none at all. A
deletion is told by zeros only. A test is a push of the newest commits; a resent delivery keeps
its Idempotency-Key, which is there since GitLab 17.4.
"""

from __future__ import annotations

from deployctl.webhook.forges import standard_webhooks
from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import (
    actor,
    check,
    inner,
    message_of,
    number,
    objects,
    push,
    text,
)
from deployctl.webhook.forges.githublike import moved_nothing
from deployctl.webhook.forges.proof import token_fits
from deployctl.webhook.payload import member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Push, State

NAME = "gitlab"
HEADER = "x-gitlab-token"
WEAKNESS: str | None = (
    "a secret token is sent as it is and signs nothing: use a signing token (whsec_…) instead"
)
_PUSHES = ("push", "tag_push")
_STATES: dict[str, State] = {
    "success": "success",
    **dict.fromkeys(("failed", "canceled", "skipped"), "failure"),
}


def verify(delivery: Delivery, secret: bytes) -> bool:
    """A signing token must sign: it is never taken for the plain token."""
    if secret.startswith(standard_webhooks.PREFIX):
        return standard_webhooks.verify(delivery, secret)
    return token_fits(delivery.headers.get(HEADER, ""), secret)


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-gitlab-event"]
    return read_as(name, delivery.headers.get("idempotency-key"), delivery.document)


def read_as(name: str, forge_id: str | None, document: dict[str, Any]) -> Event:
    """The event called ``name``; system hooks have one name for all, and the body tells."""
    event = Event("other", name, forge_id)
    project = inner(document, "project")
    event.repository_ids = number(document, "project_id") or number(project, "id")
    event.full_name = text(document, "project", "path_with_namespace") or None
    kind = text(document, "object_kind") or text(document, "event_name")
    if kind in _PUSHES and moved_nothing(document):
        event.kind = "ping"
    elif kind in _PUSHES:
        event.kind = "push"
        event.pushes = [_push(document)]
        actor(event, text(document, "user_username"), text(document, "user_name"))
    elif kind == "pipeline":
        _read_pipeline(event, inner(document, "object_attributes"))
    return event


def _read_pipeline(event: Event, pipeline: dict[str, Any]) -> None:
    """What a merge request's pipeline says is not about the branch, though it names it."""
    source = text(pipeline, "source")
    if source == "merge_request_event":
        return
    branch = "" if member(pipeline, "tag", bool) else text(pipeline, "ref")
    state = _STATES.get(text(pipeline, "status"), "pending")
    # One that is over is newer than itself before that.
    mark = "".join(number(pipeline, "id")).rjust(20, "0") + str(int(state != "pending"))
    context = f"pipeline {source}".strip()
    check(event, text(pipeline, "sha"), context, state, [branch], mark=mark)


def _push(document: dict[str, Any]) -> Push:
    """Of an annotated tag ``after`` is the tag itself, of a deletion it is zeros."""
    after = text(document, "after")
    commit = member(document, "checkout_sha", str) if after.strip("0") else after
    message = message_of(commit or after, objects(document, "commits"))
    return push(text(document, "ref"), commit or after, message=message)
