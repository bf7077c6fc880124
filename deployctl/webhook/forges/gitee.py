"""Gitee (码云).

https://help.gitee.com/webhook/gitee-webhook-push-data-format: a hook has a password, sent as it
is, or a signing key, with which time stamp and key are signed and the body is not. So a signature
is good for one delivery, and for an hour. A delivery has no id. A test has X-Gitee-Ping and the
body of another repository.
"""

from __future__ import annotations

from deployctl.system import lean
from deployctl.webhook.forges.githublike import read_as
from deployctl.webhook.forges.proof import fits, from_base64, token_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event, Kind

NAME = "gitee"
HEADER = "x-gitee-token"
WEAKNESS: str | None = "no proof covers the body: whoever sees a delivery can change what it says"
# Seconds, before and after.
TOLERANCE = 3600
_SIGNATURE = 32  # bytes
_PUSHES = ("Push Hook", "Tag Push Hook")


def verify(delivery: Delivery, secret: bytes) -> bool:
    """Whether the token is the password, or signs a time stamp of this hour."""
    token = delivery.headers.get(HEADER, "")
    signature = _is_recent(delivery) and fits(token, _signature(_stamp(delivery), secret))
    return token_fits(token, secret) or signature


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-gitee-event"]
    kind: Kind = "push" if name in _PUSHES else "other"
    if delivery.headers.get("x-gitee-ping") == "true":
        kind = "ping"
    event = read_as(kind, name, None, delivery.document)
    token = delivery.headers.get(HEADER, "").encode("utf-8", "surrogateescape")
    # Whoever has the password, and not a signature, needs no other's delivery to make one.
    if _is_recent(delivery) and len(from_base64(token)) == _SIGNATURE:
        key = lean.sha256(_stamp(delivery).encode() + b" " + token).hexdigest()
        event.once = (key, int(_stamp(delivery)) / 1000 + TOLERANCE)
    return event


def _stamp(delivery: Delivery) -> str:
    return delivery.headers.get("x-gitee-timestamp", "")


def _is_recent(delivery: Delivery) -> bool:
    """The time stamp is in milliseconds."""
    stamp = _stamp(delivery)
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 15):
        return False
    return abs(delivery.received_at - int(stamp) / 1000) <= TOLERANCE


def _signature(stamp: str, secret: bytes) -> str:
    from binascii import b2a_base64

    if not secret:
        return ""
    digest = lean.hmac(secret, stamp.encode() + b"\n" + secret)
    return b2a_base64(digest, newline=False).decode()
