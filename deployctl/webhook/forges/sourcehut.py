"""SourceHut: the webhooks of git.sr.ht before GraphQL.

https://man.sr.ht/api-conventions.md#webhooks and https://man.sr.ht/git.sr.ht/api.md: an Ed25519
signature of body and nonce, with one key for all of sr.ht; the secret of a repo is that public
key, in base64. The body does not name the repository, so the URL must name the repo. One delivery
holds all refs of a push, and its id is in the signed body.
"""

from __future__ import annotations

from deployctl.errors import ConfigError
from deployctl.webhook.forges.event import Event
from deployctl.webhook.forges.fields import make_push, nested, object_list, set_actor, text
from deployctl.webhook.forges.proof import decode_base64

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
    """Tell whether the signature of body and nonce fits.

    Raise ConfigError if the library cryptography, which has Ed25519, is not installed.
    """
    key = decode_base64(secret)
    signature = decode_base64(delivery.headers.get(HEADER, ""))
    nonce = delivery.headers.get("x-payload-nonce", "").encode("ascii", "replace")
    if len(signature) != 64 or not nonce:
        return False
    # For an unknown repo the secret is a dummy and not a key. It is verified with some key all the
    # same, so that the time of the answer does not tell that the repo is unknown.
    is_signed = _is_signed(key.ljust(32, b"\1")[:32], signature, delivery.body + nonce)
    return is_signed and len(key) == 32


def read(delivery: Delivery) -> Event:
    name, document = delivery.headers.get("x-webhook-event", ""), delivery.document
    forge_id = text(document, "push") or delivery.headers.get("x-webhook-delivery")
    event = Event("push" if name == "repo:post-update" else "other", name, forge_id)
    if event.kind == "push":
        event.pushes = [_read_push(ref) for ref in object_list(document, "refs")]
        pusher = nested(document, "pusher")
        set_actor(event, text(pusher, "canonical_name"), text(pusher, "name"))
    return event


def _read_push(ref: dict[str, Any]) -> Push:
    new = nested(ref, "new")
    if not new:
        return make_push(text(ref, "name"), None, deleted=True)
    return make_push(text(ref, "name"), text(new, "id"), message=text(new, "message"))


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
