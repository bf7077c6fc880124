"""Azure DevOps Services and Server.

https://learn.microsoft.com/azure/devops/service-hooks/services/webhooks and .../events: nothing
is signed; the proof is the password of Basic authentication, whatever the user's name. The event
stands in the body, and one delivery holds all refs of a push. The button that tests a hook sends
the sample of the documentation, always with the same id.
"""

from __future__ import annotations

from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import actor, inner, objects, push, text
from deployctl.webhook.forges.proof import basic_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Push

NAME = "azure-devops"
HEADER = "authorization"
WEAKNESS: str | None = "nothing is signed: the password is sent with every delivery"
_PUSH = "git.push"
_SAMPLE = "03c164c2-8912-4d5e-8009-3707d5f83734"


def verify(delivery: Delivery, secret: bytes) -> bool:
    return basic_fits(delivery.headers.get(HEADER, ""), secret)


def read(delivery: Delivery) -> Event:
    document = delivery.document
    name, number = text(document, "eventType"), text(document, "id")
    event = Event("push" if name == _PUSH else "other", name, number)
    resource = inner(document, "resource")
    repository = inner(resource, "repository")
    event.repository_ids = [found] if (found := text(repository, "id")) else []
    project, repo = text(repository, "project", "name"), text(repository, "name")
    event.full_name = f"{project}/{repo}" if project and repo else None
    if number.lower() == _SAMPLE:
        event.kind = "ping"
    elif event.kind == "push":
        event.pushes = [_push(resource, update) for update in objects(resource, "refUpdates")]
        actor(event, text(resource, "pushedBy", "displayName"))
    return event


def _push(resource: dict[str, Any], update: dict[str, Any]) -> Push:
    tip = text(update, "newObjectId")
    commits = objects(resource, "commits")
    comment = next((text(one, "comment") for one in commits if one.get("commitId") == tip), "")
    return push(text(update, "name"), tip, message=comment)
