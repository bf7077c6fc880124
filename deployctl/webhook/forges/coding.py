"""Coding, its WebHook; the newer Service Hook has no signature and is not taken.

https://coding.net/help/docs/project-settings/open/webhook.html: the signature is an HMAC with
SHA-1 of the body. Of the token that the first version put into the body nothing is believed.
"""

from __future__ import annotations

from deployctl.webhook.forges.githublike import read_as
from deployctl.webhook.forges.proof import hmac_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event, Kind

NAME = "coding"
HEADER = "x-coding-signature"
WEAKNESS: str | None = "the signature uses SHA-1, which is no longer recommended: keep the key long"
_KINDS: dict[str, Kind] = {"push": "push", "ping": "ping"}


def verify(delivery: Delivery, secret: bytes) -> bool:
    given = delivery.headers.get(HEADER, "")
    return hmac_fits(given, secret, delivery.body, prefix="sha1=", algorithm="sha1")


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-coding-event"]
    number = delivery.headers.get("x-coding-delivery")
    return read_as(_KINDS.get(name, "other"), name, number, delivery.document)
