"""Codeup (云效), by Alibaba Cloud.

https://help.aliyun.com/zh/yunxiao/user-guide/webhooks: the JSON is that of older versions of
GitLab, which names the repository only by its id. The token is sent as it is. A delivery has no id.
"""

from __future__ import annotations

from deployctl.webhook.forges.gitlab import read_event
from deployctl.webhook.forges.proof import token_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event

NAME = "codeup"
HEADER = "x-codeup-token"
WEAKNESS: str | None = "the token is sent as it is and signs nothing: anyone who sees it can push"


def verify(delivery: Delivery, secret: bytes) -> bool:
    return token_matches(delivery.headers.get(HEADER, ""), secret)


def read(delivery: Delivery) -> Event:
    return read_event(delivery.headers["codeup-event"], None, delivery.document)
