"""Gitee (码云).

https://help.gitee.com/webhook/gitee-webhook-push-data-format: a hook has a password, which is sent
as it is, or a signing key, which signs the time stamp and the key, but not the body. So that nobody
can use a signature for another body, it is accepted for one delivery only, and for an hour. A
delivery has no id. A test has the header X-Gitee-Ping and the body of another repository.
"""

from __future__ import annotations

from deployctl.system import fast_imports
from deployctl.webhook.forges.githublike import read_event
from deployctl.webhook.forges.proof import decode_base64, texts_match, token_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Event, Kind

NAME = "gitee"
HEADER = "x-gitee-token"
WEAKNESS: str | None = (
    "no proof covers the body: anyone who sees a delivery can change what it says"
)
# Seconds between time stamp and arrival, in either direction.
TOLERANCE = 3600
_SIGNATURE_SIZE = 32  # bytes
_PUSHES = ("Push Hook", "Tag Push Hook")


def verify(delivery: Delivery, secret: bytes) -> bool:
    """Tell whether the token is the password, or the signature of a time stamp of this hour."""
    token = delivery.headers.get(HEADER, "")
    is_signed = _is_recent(delivery) and texts_match(token, _signature(_stamp(delivery), secret))
    return token_matches(token, secret) or is_signed


def read(delivery: Delivery) -> Event:
    name = delivery.headers["x-gitee-event"]
    kind: Kind = "push" if name in _PUSHES else "other"
    if delivery.headers.get("x-gitee-ping") == "true":
        kind = "ping"
    event = read_event(kind, name, None, delivery.document)
    token = delivery.headers.get(HEADER, "").encode("utf-8", "surrogateescape")
    # Only a signature is for a single use: a sender of the password can make any delivery anyway.
    if _is_recent(delivery) and len(decode_base64(token)) == _SIGNATURE_SIZE:
        key = fast_imports.sha256(_stamp(delivery).encode() + b" " + token).hexdigest()
        event.single_use = (key, int(_stamp(delivery)) / 1000 + TOLERANCE)
    return event


def _stamp(delivery: Delivery) -> str:
    return delivery.headers.get("x-gitee-timestamp", "")


def _is_recent(delivery: Delivery) -> bool:
    """Tell whether the time stamp, which is in milliseconds, is of this hour."""
    stamp = _stamp(delivery)
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 15):
        return False
    return abs(delivery.received_at - int(stamp) / 1000) <= TOLERANCE


def _signature(stamp: str, secret: bytes) -> str:
    from binascii import b2a_base64

    if not secret:
        return ""
    digest = fast_imports.hmac(secret, stamp.encode() + b"\n" + secret)
    return b2a_base64(digest, newline=False).decode()
