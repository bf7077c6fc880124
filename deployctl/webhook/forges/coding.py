"""Coding: its WebHook. The newer Service Hook has no signature and is not supported.

https://coding.net/help/docs/project-settings/open/webhook.html: the signature is an HMAC with
SHA-1 of the body. The first version put a token into the body; that is not accepted as a proof.
"""

from __future__ import annotations

from deployctl.webhook.forges.githublike import read_event
from deployctl.webhook.forges.proof import hmac_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event, Kind

NAME = "coding"
HEADER = "x-coding-signature"
WEAKNESS: str | None = "the signature uses SHA-1, which is no longer recommended: keep the key long"
_KINDS: dict[str, Kind] = {"push": "push", "ping": "ping"}


def verify(delivery: Delivery, secret: bytes) -> bool:
    given = delivery.headers.get(HEADER, "")
    return hmac_matches(given, secret, delivery.body, prefix="sha1=", algorithm="sha1")


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-coding-event"]
    forge_id = delivery.headers.get("x-coding-delivery")
    return read_event(_KINDS.get(name, "other"), name, forge_id, delivery.document)
