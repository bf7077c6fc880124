"""SourceHut: the webhooks of git.sr.ht before GraphQL.

https://man.sr.ht/api-conventions.md#webhooks and https://man.sr.ht/git.sr.ht/api.md: an Ed25519
signature of body and nonce, with one key for the whole of sr.ht; the secret of a repo is that
public key, in base64. The body does not name the repository, so the URL has to. One delivery
holds all refs of a push, and its id is in what is signed.
"""

from __future__ import annotations

from deployctl.errors import ConfigError
from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import actor, inner, objects, push, text
from deployctl.webhook.forges.proof import from_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery, Push

NAME = "sourcehut"
HEADER = "x-payload-signature"
WEAKNESS: str | None = (
    "the signature proves that sr.ht sent it, not that you asked for it: "
    "every user of sr.ht can point a webhook at you"
)


def verify(delivery: Delivery, secret: bytes) -> bool:
    """ConfigError where the library that knows Ed25519 is not installed."""
    key = from_base64(secret)
    signature = from_base64(delivery.headers.get(HEADER, ""))
    nonce = delivery.headers.get("x-payload-nonce", "").encode("ascii", "replace")
    if len(signature) != 64 or not nonce:
        return False
    # A secret that is no key takes as long as one that is: there may be no repo at all.
    is_signed = _is_signed(key.ljust(32, b"\1")[:32], signature, delivery.body + nonce)
    return is_signed and len(key) == 32


def read(delivery: Delivery) -> Event:
    name, document = delivery.headers.get("x-webhook-event", ""), delivery.document
    number = text(document, "push") or delivery.headers.get("x-webhook-delivery")
    event = Event("push" if name == "repo:post-update" else "other", name, number)
    if event.kind == "push":
        event.pushes = [_push(ref) for ref in objects(document, "refs")]
        who = inner(document, "pusher")
        actor(event, text(who, "canonical_name"), text(who, "name"))
    return event


def _push(ref: dict[str, Any]) -> Push:
    new = inner(ref, "new")
    if not new:
        return push(text(ref, "name"), None, deleted=True)
    return push(text(ref, "name"), text(new, "id"), message=text(new, "message"))


def _is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise ConfigError(
            "the signatures of SourceHut need the library cryptography: "
            "pip install 'deployctl[sourcehut]'"
        ) from None
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
