"""Gitea, with the functions that Forgejo and Gogs share with it.

https://docs.gitea.com/usage/webhooks: the signature is an HMAC with SHA-256 of the JSON; in a form
body that is the field ``payload``. Without a secret the header of the signature is sent empty. A
redelivery has a new id. A test delivery is a push from HEAD to HEAD, or from zeros to zeros if the
repository is empty. A deleted branch is reported by the event ``delete``, a deleted tag also by a
push.
"""

from __future__ import annotations

from deployctl.webhook.forges.githublike import moved_nothing, read_event, read_status
from deployctl.webhook.forges.proof import hmac_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event, Kind

NAME = "gitea"
HEADER = "x-gitea-signature"
WEAKNESS: str | None = None


def verify(delivery: Delivery, secret: bytes) -> bool:
    return verify_header(HEADER, delivery, secret)


def read(delivery: Delivery) -> Event:
    return read_with_prefix("x-gitea", delivery)


def verify_header(header: str, delivery: Delivery, secret: bytes) -> bool:
    """Tell whether that header holds the signature of the JSON."""
    return hmac_matches(delivery.headers.get(header, ""), secret, delivery.payload)


def read_with_prefix(prefix: str, delivery: Delivery) -> Event:
    """Return the event; ``prefix`` begins the names of the forge's headers (``x-gitea``)."""
    name = delivery.headers[f"{prefix}-event"]
    kind: Kind = "push" if name == "push" else "other"
    if kind == "push" and moved_nothing(delivery.document):
        kind = "ping"
    event = read_event(kind, name, delivery.headers.get(f"{prefix}-delivery"), delivery.document)
    if name == "status":
        read_status(event, delivery.document)
    return event
