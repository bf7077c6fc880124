"""Control messages: signed orders of a person to deploy or to roll back, as by the command line.

``{"action": "deploy" | "rollback", "repo": NAME, "to": REVISION or NUMBER}`` with the headers of
Standard Webhooks, signed with a secret of the repo; ``to`` may be left out. An id is accepted only
once.
"""

from __future__ import annotations

from deployctl.webhook.forges import standard_webhooks
from deployctl.webhook.forges.event import Control, Event
from deployctl.webhook.forges.fields import set_actor, text
from deployctl.webhook.forges.proof import decode_base64
from deployctl.webhook.payload import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.webhook.forges.event import Delivery

NAME = "control"
WEAKNESS: str | None = None
HEADER = "webhook-signature"
ACTIONS = ("deploy", "rollback")
_DIGITS = frozenset("0123456789abcdef")


def verify(delivery: Delivery, secret: bytes) -> bool:
    """Tell whether a signature fits; a secret may be one for a forge, without ``whsec_``."""
    return standard_webhooks.verify_with_key(delivery, key_from_secret(secret))


def key_from_secret(secret: bytes) -> bytes:
    """Return the key of the HMAC: what follows ``whsec_``, decoded, or else the secret itself."""
    if secret.startswith(standard_webhooks.PREFIX):
        return decode_base64(secret[len(standard_webhooks.PREFIX) :])
    return secret


def read(delivery: Delivery) -> Event:
    document = delivery.document
    action, repo = text(document, "action"), text(document, "repo")
    if action not in ACTIONS or not repo:
        raise MalformedError(f"an order needs a repo and an action: {' or '.join(ACTIONS)}")
    message_id = delivery.headers.get("webhook-id", "")
    event = Event("control", action, message_id)
    event.control = Control(action, repo, _target(document))
    # The time stamp may be TOLERANCE ahead; then the message is valid for twice that long from now.
    remember_until = delivery.received_at + 2 * standard_webhooks.TOLERANCE
    event.single_use = (f"control {message_id}", remember_until)
    set_actor(event, text(document, "actor"), "control")
    return event


def _target(document: dict[str, Any]) -> str | None:
    """Return a revision, the beginning of one, or a deployment's number; None if it is left out.

    In JSON it may be a text or a number.
    """
    given = document.get("to")
    if given is None:
        return None
    to = str(given).lstrip("#").lower() if isinstance(given, (str, int)) else ""
    if not to or len(to) > 64 or not _DIGITS.issuperset(to):
        raise MalformedError("to is neither a revision nor a deployment's number")
    return to
