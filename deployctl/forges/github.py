"""GitHub.com and GitHub Enterprise Server.

https://docs.github.com/webhooks/webhook-events-and-payloads and
https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries: the signature is an
HMAC with SHA-256 of the body as it was sent, also of a form body. The older SHA-1 header is sent
beside it and never looked at. A redelivery keeps its X-GitHub-Delivery. Each ref is a delivery of
its own; of more than three tags pushed at once there is none at all.
"""

from __future__ import annotations

from deployctl.forges.githublike import read_as
from deployctl.forges.proof import hmac_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.forges.event import Delivery, Event, Kind

NAME = "github"
WEAKNESS: str | None = None
_KINDS: dict[str, Kind] = {"push": "push", "ping": "ping"}


def verify(delivery: Delivery, secret: bytes) -> bool:
    given = delivery.headers.get("x-hub-signature-256", "")
    return hmac_fits(given, secret, delivery.body, prefix="sha256=")


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-github-event"]
    number = delivery.headers.get("x-github-delivery")
    return read_as(_KINDS.get(name, "other"), name, number, delivery.document)
