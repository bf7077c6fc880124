"""Codeup (云效), by Alibaba Cloud.

https://help.aliyun.com/zh/yunxiao/user-guide/webhooks: GitLab's document of old, which names the
repository by its id only, and a token sent as it is. A delivery has no id.
"""

from __future__ import annotations

from deployctl.webhook.forges.gitlab import read_as
from deployctl.webhook.forges.proof import token_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event

NAME = "codeup"
HEADER = "x-codeup-token"
WEAKNESS: str | None = "the token is sent as it is and signs nothing: whoever sees one can push"


def verify(delivery: Delivery, secret: bytes) -> bool:
    return token_fits(delivery.headers.get(HEADER, ""), secret)


def read(delivery: Delivery) -> Event:
    return read_as(delivery.headers["codeup-event"], None, delivery.document)
