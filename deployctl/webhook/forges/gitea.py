"""Gitea, and what Forgejo and Gogs have in common with it.

https://docs.gitea.com/usage/webhooks: the signature is an HMAC with SHA-256 of the JSON, for a
form body that of its field ``payload``; without a secret its header is there and empty. A
redelivery has a new id. A test delivery is a push from HEAD to HEAD, of an empty repository from
zeros to zeros. A deleted branch comes as the event ``delete``, a deleted tag also as a push.
"""

from __future__ import annotations

from deployctl.webhook.forges.githublike import moved_nothing, read_as, read_status
from deployctl.webhook.forges.proof import hmac_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event, Kind

NAME = "gitea"
HEADER = "x-gitea-signature"
WEAKNESS: str | None = None


def verify(delivery: Delivery, secret: bytes) -> bool:
    return verify_by(HEADER, delivery, secret)


def read(delivery: Delivery) -> Event:
    return read_by("x-gitea", delivery)


def verify_by(header: str, delivery: Delivery, secret: bytes) -> bool:
    """Whether that header signs the JSON."""
    return hmac_fits(delivery.headers.get(header, ""), secret, delivery.payload)


def read_by(prefix: str, delivery: Delivery) -> Event:
    """The event, by the headers that start so."""
    name = delivery.headers[f"{prefix}-event"]
    kind: Kind = "push" if name == "push" else "other"
    if kind == "push" and moved_nothing(delivery.document):
        kind = "ping"
    event = read_as(kind, name, delivery.headers.get(f"{prefix}-delivery"), delivery.document)
    if name == "status":
        read_status(event, delivery.document)
    return event
