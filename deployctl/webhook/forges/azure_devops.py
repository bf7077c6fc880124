"""Azure DevOps Services and Server.

https://learn.microsoft.com/azure/devops/service-hooks/services/webhooks and .../events: nothing
is signed; the proof is the password of Basic authentication, with any user name. The name of the
event is in the body, and one delivery holds all refs of a push. The button that tests a hook sends
the sample from the documentation, always with the same id.
"""

from __future__ import annotations

from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import make_push, nested, object_list, set_actor, text
from deployctl.webhook.forges.proof import basic_password_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Push

NAME = "azure-devops"
HEADER = "authorization"
WEAKNESS: str | None = "nothing is signed: the password is sent with every delivery"
_PUSH = "git.push"
_SAMPLE_ID = "03c164c2-8912-4d5e-8009-3707d5f83734"


def verify(delivery: Delivery, secret: bytes) -> bool:
    return basic_password_matches(delivery.headers.get(HEADER, ""), secret)


def read(delivery: Delivery) -> Event:
    document = delivery.document
    name, forge_id = text(document, "eventType"), text(document, "id")
    event = Event("push" if name == _PUSH else "other", name, forge_id)
    resource = nested(document, "resource")
    repository = nested(resource, "repository")
    event.repository_ids = [repository_id] if (repository_id := text(repository, "id")) else []
    project, repo = text(repository, "project", "name"), text(repository, "name")
    event.full_name = f"{project}/{repo}" if project and repo else None
    if forge_id.lower() == _SAMPLE_ID:
        event.kind = "ping"
    elif event.kind == "push":
        event.pushes = [
            _read_push(resource, update) for update in object_list(resource, "refUpdates")
        ]
        set_actor(event, text(resource, "pushedBy", "displayName"))
    return event


def _read_push(resource: dict[str, Any], update: dict[str, Any]) -> Push:
    revision = text(update, "newObjectId")
    commits = object_list(resource, "commits")
    comment = next(
        (text(commit, "comment") for commit in commits if commit.get("commitId") == revision), ""
    )
    return make_push(text(update, "name"), revision, message=comment)
