"""Senders that keep to Standard Webhooks; the document is one of our own.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the
header holds signatures apart by spaces, those named ``v1`` an HMAC with SHA-256 of id, time stamp
and body, keyed with what the base64 behind ``whsec_`` stands for. A retry keeps its id.

The specification leaves the document open but for ``type`` and ``data``. A push is
``{"type": "push", "data": {"ref": "refs/heads/main", "revision": SHA, "deleted": false,
"repository": {"id": TEXT, "full_name": TEXT}, "actor": TEXT, "message": TEXT}}``, of which only
``ref`` must be there; ``{"type": "ping"}`` is a test.
"""

from __future__ import annotations

from deployctl.system import lean
from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import actor, inner, push, text
from deployctl.webhook.forges.proof import fits, from_base64
from deployctl.webhook.payload import member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Kind

NAME = "standard-webhooks"
HEADER = "webhook-signature"
WEAKNESS: str | None = None
PREFIX = b"whsec_"
# Seconds, before and after; what the reference implementations take.
TOLERANCE = 300
_KINDS: dict[str, Kind] = {"push": "push", "ping": "ping"}


def verify(delivery: Delivery, secret: bytes) -> bool:
    """Whether one of the signatures fits, and the time stamp is of now."""
    key = from_base64(secret[len(PREFIX) :]) if secret.startswith(PREFIX) else b""
    return verify_with(delivery, key)


def verify_with(delivery: Delivery, key: bytes) -> bool:
    """The same, for the key itself; an empty one never fits."""
    number = delivery.headers.get("webhook-id", "")
    stamp = delivery.headers.get("webhook-timestamp", "")
    if not key or not number or not _is_recent(stamp, delivery.received_at):
        return False
    wanted = signature(key, number, stamp, delivery.body)
    given = delivery.headers.get(HEADER, "").split(" ")
    return any(fits(one, wanted) for one in given)


def signature(key: bytes, number: str, stamp: str, body: bytes) -> str:
    """What a sender puts into the header: the version, a comma, the HMAC in base64."""
    from binascii import b2a_base64

    signed = f"{number}.{stamp}.".encode("utf-8", "surrogateescape") + body
    return "v1," + b2a_base64(lean.hmac(key, signed), newline=False).decode()


def read(delivery: Delivery) -> Event:
    name = text(delivery.document, "type")
    data = inner(delivery.document, "data")
    event = Event(_KINDS.get(name, "other"), name, delivery.headers.get("webhook-id"))
    repository = inner(data, "repository")
    event.repository_ids = [found] if (found := text(repository, "id")) else []
    event.full_name = member(repository, "full_name", str)
    if event.kind == "push":
        deleted, revision = member(data, "deleted", bool), member(data, "revision", str)
        message = text(data, "message")
        event.pushes = [push(text(data, "ref"), revision, deleted=deleted, message=message)]
        actor(event, text(data, "actor"))
    return event


def _is_recent(stamp: str, now: float) -> bool:
    return stamp.isascii() and stamp.isdigit() and abs(now - float(stamp)) <= TOLERANCE
