"""A delivery before it is believed: the repos it may be meant for, and those that it proves.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

from deployctl import forges
from deployctl.errors import ConfigError
from deployctl.forges.event import Delivery, Event
from deployctl.payload import form_payload, parse, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.config.compiled import WebhookConfig, WebhookRepo
    from deployctl.forges import Forge
    from deployctl.request import Request
    from deployctl.values.secret import Secret

# What a request for an unknown repo is verified against, so that it takes as long as any other.
_NOBODY = b"nobody's secret"
# The key of sr.ht, which everybody knows: it is a secret for no other forge.
_PUBLIC = b"uX7KWyyDNMaBma4aVbJ/cbUQpdjqczuCyK/HxzV/u+4="
# Where Standard Webhooks have their proof, and GitLab's signing tokens.
_SIGNED = "webhook-signature"


class Meant:
    """A repo that a delivery may be meant for, and what the repo's forge reads in it."""

    __slots__ = ("event", "forge", "repo")

    def __init__(self, repo: WebhookRepo, forge: Forge, event: Event) -> None:
        self.repo = repo
        self.forge = forge
        self.event = event


class Claim:
    """A delivery, the forge it seems to come from, what that reads in it, and all it may be meant
    for.

    ``path`` is the name of a repo where the URL has one, else empty.
    """

    __slots__ = ("_events", "delivery", "event", "forge", "meant", "path")

    def __init__(self, request: Request, config: WebhookConfig, now: float) -> None:
        body = request.read_body(config.max_body)
        payload = form_payload(body) if request.is_form else body
        document = parse(payload)
        self.delivery = Delivery(request.headers, body, document, payload=payload, received_at=now)
        self.path = request.path.strip("/")
        self._events: dict[str, tuple[Forge, Event]] = {}
        name = forges.recognise(request.headers, document)
        self.forge = forges.load(name) if name else None
        self.event = self._read(name)[1] if name else Event("other", "")
        self.meant = [
            meant for repo in config.repos.values() if (meant := self._meant(repo)) is not None
        ]

    @property
    def forge_name(self) -> str | None:
        if self.meant:
            return self.meant[0].forge.NAME
        return self.forge.NAME if self.forge else None

    def _meant(self, repo: WebhookRepo) -> Meant | None:
        """The repo that the URL names, else one that follows this repository of its forge.

        The forge that repos.yml names is asked wherever its headers are there; others may be too.
        """
        if self.path not in ("", repo.name):
            return None
        name = forges.sender(repo.forge, self.forge, self.delivery)
        if name is None:
            return None
        forge, event = self._read(name)
        if event.control is not None:
            return Meant(repo, forge, event) if event.control.repo == repo.name else None
        return Meant(repo, forge, event) if self.path or follows(repo, event) else None

    def _read(self, name: str) -> tuple[Forge, Event]:
        if name not in self._events:
            forge = forges.load(name)
            self._events[name] = (forge, forge.read(self.delivery))
        return self._events[name]


def follows(repo: WebhookRepo, event: Event) -> bool:
    """By the id where both sides have one, as it outlives a renaming; else by the full name."""
    if repo.id is not None and event.repository_ids:
        return _same_id(repo.id) in map(_same_id, event.repository_ids)
    if repo.full_name is None or event.full_name is None:
        return False
    return repo.full_name.casefold() == event.full_name.casefold()


def _same_id(text: str) -> str:
    """Some forges write a UUID in braces, and its letters large or small."""
    return text.strip("{}").lower()


def proved(claim: Claim, config: WebhookConfig) -> list[Meant]:
    """Those one of whose secrets proves who sent it.

    :class:`ConfigError` where there are none and a secret of repos.yml cannot be read, whoever
    asks: a stranger is not to learn from it which repos there are.
    """
    trouble: list[ConfigError] = []
    found = [meant for meant in claim.meant if _is_proved(claim.delivery, meant, trouble)]
    if not found:
        _as_if_proved(claim, trouble)
        for repo in config.repos.values():
            for secret in repo.secrets:
                _try(secret, trouble)
        if trouble:
            raise trouble[0]
    return found


def _is_proved(delivery: Delivery, meant: Meant, trouble: list[ConfigError]) -> bool:
    """A secret that cannot be read does not keep another one from being tried."""
    for secret in meant.repo.secrets:
        key = _try(secret, trouble)
        if key == _PUBLIC and meant.forge.NAME != "sourcehut":
            continue
        try:
            if key and meant.forge.verify(delivery, key):
                return True
        except ConfigError as error:
            trouble.append(error)
    return False


def _as_if_proved(claim: Claim, trouble: list[ConfigError]) -> None:
    if claim.forge is not None and not any(meant.repo.secrets for meant in claim.meant):
        try:
            claim.forge.verify(claim.delivery, _NOBODY)
        except ConfigError as error:
            trouble.append(error)


def _try(secret: Secret, trouble: list[ConfigError]) -> bytes:
    try:
        return secret.reveal().encode("utf-8", "surrogateescape")
    except ConfigError as error:
        trouble.append(error)
        return b""


def _why_not_meant(claim: Claim, forge: str, named: WebhookRepo | None) -> str:
    if named is not None and claim.event.control is not None and named.forge != "sourcehut":
        return f"the order names another repo than its URL, which says {named.name}"
    if named is not None:
        return f"{named.name} is a repo of {named.forge}, and this comes from {forge}"
    name = printable(claim.path or claim.event.full_name or "-")
    return f"no repo is meant by it (it comes from {forge} and names {name})"


def why_refused(claim: Claim, config: WebhookConfig) -> str:
    """For the inbox, that is for the operator only."""
    if claim.forge is None:
        return "no header of a forge that deployctl knows"
    if not claim.meant:
        return _why_not_meant(claim, claim.forge.NAME, config.repos.get(claim.path))
    if not any(meant.repo.secrets for meant in claim.meant):
        return "the repo has no webhook_secret: set it here and at the forge"
    forge, name = claim.meant[0].forge, claim.meant[0].repo.name
    given = next((one for one in (_SIGNED, forge.HEADER) if one in claim.delivery.headers), None)
    if given is None:
        return f"there is no proof of a secret: set one at the forge ({forge.NAME}, {forge.HEADER})"
    return (
        f"the signature or token ({given}) does not fit webhook_secret of {name}: the forge has "
        "another secret, or the time stamp is not of now"
    )
