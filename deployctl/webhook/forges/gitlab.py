"""GitLab, with the function that Codeup shares with it.

https://docs.gitlab.com/user/project/integrations/webhooks and .../webhook_events: a hook has a
secret token, which is sent as it is, or a signing token (``whsec_…``), which signs as Standard
Webhooks specify. Each ref has a delivery of its own; if more than three refs are pushed at once,
GitLab sends none for them. A deleted ref is recognised by zeros only. A test is a push of the
newest commits. A redelivery keeps its Idempotency-Key, which GitLab sends since 17.4.
"""

from __future__ import annotations

from deployctl.webhook.forges import standard_webhooks
from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import (
    make_push,
    message_of,
    nested,
    number_as_ids,
    object_list,
    set_actor,
    set_check,
    text,
)
from deployctl.webhook.forges.githublike import moved_nothing
from deployctl.webhook.forges.proof import token_matches
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
    """Tell whether the token or signature fits.

    A signing token must sign: it is not accepted as a plain token.
    """
    if secret.startswith(standard_webhooks.PREFIX):
        return standard_webhooks.verify(delivery, secret)
    return token_matches(delivery.headers.get(HEADER, ""), secret)


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-gitlab-event"]
    return read_event(name, delivery.headers.get("idempotency-key"), delivery.document)


def read_event(name: str, forge_id: str | None, document: dict[str, Any]) -> Event:
    """Return the event called ``name``.

    Its kind is read from the JSON, because system hooks have the same name for all events.
    """
    event = Event("other", name, forge_id)
    project = nested(document, "project")
    event.repository_ids = number_as_ids(document, "project_id") or number_as_ids(project, "id")
    event.full_name = text(document, "project", "path_with_namespace") or None
    kind = text(document, "object_kind") or text(document, "event_name")
    if kind in _PUSHES and moved_nothing(document):
        event.kind = "ping"
    elif kind in _PUSHES:
        event.kind = "push"
        event.pushes = [_read_push(document)]
        set_actor(event, text(document, "user_username"), text(document, "user_name"))
    elif kind == "pipeline":
        _read_pipeline(event, nested(document, "object_attributes"))
    return event


def _read_pipeline(event: Event, pipeline: dict[str, Any]) -> None:
    """Set the check of an event from a pipeline.

    The pipeline of a merge request is ignored: it names the branch, but is not about it.
    """
    source = text(pipeline, "source")
    if source == "merge_request_event":
        return
    branch = "" if member(pipeline, "tag", bool) else text(pipeline, "ref")
    state = _STATES.get(text(pipeline, "status"), "pending")
    # Of two reports about one pipeline, the one that says it has ended is the newer.
    mark = "".join(number_as_ids(pipeline, "id")).rjust(20, "0") + str(int(state != "pending"))
    context = f"pipeline {source}".strip()
    set_check(event, text(pipeline, "sha"), context, state, [branch], mark=mark)


def _read_push(document: dict[str, Any]) -> Push:
    """Return the push; for an annotated tag ``after`` is the tag object, for a deletion zeros."""
    after = text(document, "after")
    commit = member(document, "checkout_sha", str) if after.strip("0") else after
    message = message_of(commit or after, object_list(document, "commits"))
    return make_push(text(document, "ref"), commit or after, message=message)
