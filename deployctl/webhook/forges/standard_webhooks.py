"""Senders that follow Standard Webhooks; the format of the JSON is defined by deployctl.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the
header holds signatures separated by spaces. A signature with the name ``v1`` is an HMAC with
SHA-256 of id, time stamp and body; its key is the decoded base64 after ``whsec_``. A retry keeps
its id.

The specification defines only ``type`` and ``data`` of the JSON. A push is
``{"type": "push", "data": {"ref": "refs/heads/main", "revision": SHA, "deleted": false,
"repository": {"id": TEXT, "full_name": TEXT}, "actor": TEXT, "message": TEXT}}``, of which only
``ref`` is compulsory; ``{"type": "ping"}`` is a test.
"""

from __future__ import annotations

from deployctl.system import fast_imports
from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import make_push, nested, set_actor, text
from deployctl.webhook.forges.proof import decode_base64, texts_match
from deployctl.webhook.payload import member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook.forges.event import Delivery, Kind

NAME = "standard-webhooks"
HEADER = "webhook-signature"
WEAKNESS: str | None = None
PREFIX = b"whsec_"
# Seconds between time stamp and arrival, in either direction, as in the reference implementations.
TOLERANCE = 300
_KINDS: dict[str, Kind] = {"push": "push", "ping": "ping"}


def verify(delivery: Delivery, secret: bytes) -> bool:
    """Tell whether one of the signatures fits and the time stamp is recent."""
    key = decode_base64(secret[len(PREFIX) :]) if secret.startswith(PREFIX) else b""
    return verify_with_key(delivery, key)


def verify_with_key(delivery: Delivery, key: bytes) -> bool:
    """Tell the same as ``verify``, with the decoded key; an empty key never verifies."""
    message_id = delivery.headers.get("webhook-id", "")
    stamp = delivery.headers.get("webhook-timestamp", "")
    if not key or not message_id or not _is_recent(stamp, delivery.received_at):
        return False
    expected = signature(key, message_id, stamp, delivery.body)
    signatures = delivery.headers.get(HEADER, "").split(" ")
    return any(texts_match(given, expected) for given in signatures)


def signature(key: bytes, message_id: str, stamp: str, body: bytes) -> str:
    """Return the signature for the header: the version, a comma, the HMAC in base64."""
    from binascii import b2a_base64

    signed = f"{message_id}.{stamp}.".encode("utf-8", "surrogateescape") + body
    return "v1," + b2a_base64(fast_imports.hmac(key, signed), newline=False).decode()


def read(delivery: Delivery) -> Event:
    name = text(delivery.document, "type")
    data = nested(delivery.document, "data")
    event = Event(_KINDS.get(name, "other"), name, delivery.headers.get("webhook-id"))
    repository = nested(data, "repository")
    event.repository_ids = [repository_id] if (repository_id := text(repository, "id")) else []
    event.full_name = member(repository, "full_name", str)
    if event.kind == "push":
        deleted, revision = member(data, "deleted", bool), member(data, "revision", str)
        message = text(data, "message")
        event.pushes = [make_push(text(data, "ref"), revision, deleted=deleted, message=message)]
        set_actor(event, text(data, "actor"))
    return event


def _is_recent(stamp: str, now: float) -> bool:
    return stamp.isascii() and stamp.isdigit() and abs(now - float(stamp)) <= TOLERANCE
