"""One module for each forge, all with the same names and the same two functions.

``verify`` tells whether one secret proves who sent a delivery; an empty secret never does.
``read`` says what happened, without believing any of it: a value of the wrong type is a
MalformedError of webhook/payload.py. ``NAME`` is what repos.yml calls the forge, ``HEADER``
is where its proof stands, and ``WEAKNESS`` says in a line what that does not prove, None where
there is nothing to say.

Everything here is on the webhook's way: only the module that is needed is loaded.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from deployctl.webhook.forges.event import Delivery, Event

    class Forge(Protocol):
        NAME: str
        HEADER: str
        WEAKNESS: str | None

        def verify(self, delivery: Delivery, secret: bytes) -> bool: ...

        def read(self, delivery: Delivery) -> Event: ...


# The most special first: Forgejo sends the headers of Gitea too, and all of them that of GitHub.
_HEADERS = {
    "x-forgejo-event": "forgejo",
    "x-gitea-event": "gitea",
    "x-gogs-event": "gogs",
    "x-gitlab-event": "gitlab",
    "x-gitee-event": "gitee",
    "codeup-event": "codeup",
    "x-coding-event": "coding",
    "x-event-key": "bitbucket",
    "x-github-event": "github",
    "x-payload-signature": "sourcehut",
    "webhook-signature": "standard-webhooks",
}
_CONTROL = {"action", "repo"}
# Both send the header of the first one: which it is was looked at.
_AMBIGUOUS = ("bitbucket", "bitbucket-server")


def recognise(headers: Mapping[str, str], document: Mapping[str, Any]) -> str | None:
    """The name of the forge that a request with these lower-case headers seems to come from."""
    name = next((_HEADERS[header] for header in _HEADERS if header in headers), None)
    if name == "bitbucket":
        cloud = {"x-hook-uuid", "x-request-uuid"} & headers.keys() or "push" in document
        return "bitbucket" if cloud else "bitbucket-server"
    if name == "standard-webhooks" and document.keys() >= _CONTROL:
        return "control"
    if name is None and {"eventType", "resource"} <= document.keys():
        return "azure-devops"
    return name


def sender(named: str | None, recognised: Forge | None, delivery: Delivery) -> str | None:
    """The forge whose delivery it is for a repo: the one that repos.yml names, if it can be that.

    Forgejo's deliveries are Gitea's and Gogs's too, so a server that became another one goes on.
    """
    found = recognised.NAME if recognised else None
    if found == "control":  # the secret of a repo of SourceHut is a public key
        return None if named == "sourcehut" else found
    if named is None or found == named:
        return found
    sent = any(_HEADERS[header] == named for header in _HEADERS if header in delivery.headers)
    return named if sent and named not in _AMBIGUOUS else None


def load(name: str) -> Forge:
    """The module of the forge of that name."""
    path = "deployctl.webhook.forges." + name.replace("-", "_")
    __import__(path)  # importlib, which has a function for it, would take longer than all of it
    forge: Any = sys.modules[path]
    found: Forge = forge
    return found
