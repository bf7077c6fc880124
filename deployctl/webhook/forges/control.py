"""Orders of people: signed messages that ask for what the command line does.

``{"action": "deploy" | "rollback", "repo": NAME, "to": REVISION or NUMBER}`` with the headers of
Standard Webhooks, signed with a secret of the repo; ``to`` may be left out. An id is good once.
"""

from __future__ import annotations

from deployctl.webhook.forges import standard_webhooks
from deployctl.webhook.forges.event import Control, Event
from deployctl.webhook.forges.fields import actor, text
from deployctl.webhook.forges.proof import from_base64
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
    """Other than a forge's, a secret need not begin with ``whsec_``: then it is the key itself."""
    return standard_webhooks.verify_with(delivery, key_of(secret))


def key_of(secret: bytes) -> bytes:
    if secret.startswith(standard_webhooks.PREFIX):
        return from_base64(secret[len(standard_webhooks.PREFIX) :])
    return secret


def read(delivery: Delivery) -> Event:
    document = delivery.document
    action, repo = text(document, "action"), text(document, "repo")
    if action not in ACTIONS or not repo:
        raise MalformedError(f"an order needs a repo and an action: {' or '.join(ACTIONS)}")
    number = delivery.headers.get("webhook-id", "")
    event = Event("control", action, number)
    event.control = Control(action, repo, _target(document))
    event.once = (f"control {number}", delivery.received_at + 2 * standard_webhooks.TOLERANCE)
    actor(event, text(document, "actor"), "control")
    return event


def _target(document: dict[str, Any]) -> str | None:
    """A revision, the beginning of one, or a deployment's number, as text or as a number."""
    given = document.get("to")
    if given is None:
        return None
    to = str(given).lstrip("#").lower() if isinstance(given, (str, int)) else ""
    if not to or len(to) > 64 or not _DIGITS.issuperset(to):
        raise MalformedError("to is neither a revision nor a deployment's number")
    return to
