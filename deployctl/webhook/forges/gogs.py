"""Gogs.

https://gogs.io/features/webhook: like Gitea, except that a redelivery keeps its id.
"""

from __future__ import annotations

from deployctl.webhook.forges.gitea import read_with_prefix, verify_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event

NAME = "gogs"
HEADER = "x-gogs-signature"
WEAKNESS: str | None = None


def verify(delivery: Delivery, secret: bytes) -> bool:
    return verify_header(HEADER, delivery, secret)


def read(delivery: Delivery) -> Event:
    return read_with_prefix("x-gogs", delivery)
