"""Recognise the forge of a delivery, and load the module for it: one module for each forge.

All these modules have the same names. ``verify`` tells whether a secret proves who sent a delivery;
an empty secret never does. ``read`` returns the event in a delivery; as it may not be verified yet,
nothing in it is trusted, and a value of the wrong type raises MalformedError. ``NAME`` is the name
of the forge in repos.yml, and ``HEADER`` is the header with the signature or token. ``WEAKNESS``
says in one line what that does not prove; None where there is nothing to say.

Every delivery loads this package, so only the module of the forge in question is imported.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from deployctl.webhook.forges.event import Delivery, Event

    class Forge(Protocol):
        """The names that the module of each forge has."""

        NAME: str
        HEADER: str
        WEAKNESS: str | None

        def verify(self, delivery: Delivery, secret: bytes) -> bool: ...

        def read(self, delivery: Delivery) -> Event: ...


# The first match counts, so the order matters: Forgejo sends the headers of Gitea too, and Forgejo,
# Gitea and Gogs all send the header of GitHub.
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
_CONTROL_MEMBERS = {"action", "repo"}
# Both send x-event-key; recognise() tells them apart by other headers.
_AMBIGUOUS = ("bitbucket", "bitbucket-server")


def recognise(headers: Mapping[str, str], document: Mapping[str, Any]) -> str | None:
    """Return the name of the forge that a request seems to come from, or None.

    ``headers`` have lower-case names; ``document`` is the JSON object in the body.
    """
    name = next((_HEADERS[header] for header in _HEADERS if header in headers), None)
    if name == "bitbucket":
        cloud = {"x-hook-uuid", "x-request-uuid"} & headers.keys() or "push" in document
        return "bitbucket" if cloud else "bitbucket-server"
    if name == "standard-webhooks" and document.keys() >= _CONTROL_MEMBERS:
        return "control"
    if name is None and {"eventType", "resource"} <= document.keys():
        return "azure-devops"
    return name


def forge_name_for(
    configured: str | None, recognised: Forge | None, delivery: Delivery
) -> str | None:
    """Return the forge as whose delivery a repo reads this one; None if it is not for the repo.

    ``configured`` is the forge that repos.yml names for the repo, if any. It is used if the
    delivery has its header, even if another forge was recognised: Forgejo sends the headers of
    Gitea and Gogs too, so a server that was moved from those to Forgejo still works.
    """
    found = recognised.NAME if recognised else None
    if found == "control":
        # The secret of a repo of SourceHut is a public key: anybody could sign with it.
        return None if configured == "sourcehut" else found
    if configured is None or found == configured:
        return found
    sent = any(_HEADERS[header] == configured for header in _HEADERS if header in delivery.headers)
    return configured if sent and configured not in _AMBIGUOUS else None


def load_forge(name: str) -> Forge:
    """Return the module of the forge with this name."""
    path = "deployctl.webhook.forges." + name.replace("-", "_")
    __import__(path)  # importing importlib for this would take longer than all the rest
    module: Any = sys.modules[path]
    forge: Forge = module
    return forge
