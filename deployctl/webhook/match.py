"""A delivery before it is believed: the repos it may be candidate for, and those that it proves.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

from deployctl.errors import ConfigError
from deployctl.webhook import forges
from deployctl.webhook.forges.event import Delivery, Event
from deployctl.webhook.payload import form_payload, parse, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.config.compiled import WebhookConfig, WebhookRepo
    from deployctl.values.secret import Secret
    from deployctl.webhook.forges import Forge
    from deployctl.webhook.request import Request

# What a request for an unknown repo is verified against, so that it takes as long as any other.
_NOBODY = b"nobody's secret"
# The key of sr.ht, which everybody knows: it is a secret for no other forge.
_PUBLIC = b"uX7KWyyDNMaBma4aVbJ/cbUQpdjqczuCyK/HxzV/u+4="
# Where Standard Webhooks have their proof, and GitLab's signing tokens.
_SIGNED = "webhook-signature"


class Candidate:
    """A repo that a delivery may be candidate for, and what the repo's forge reads in it."""

    __slots__ = ("event", "forge", "repo")

    def __init__(self, repo: WebhookRepo, forge: Forge, event: Event) -> None:
        self.repo = repo
        self.forge = forge
        self.event = event


class Candidates:
    """A delivery, the forge it seems to come from, what that reads in it, and all it may be meant
    for.

    ``path`` is the name of a repo where the URL has one, else empty.
    """

    __slots__ = ("_events", "delivery", "event", "forge", "found", "path")

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
        self.found = [
            candidate
            for repo in config.repos.values()
            if (candidate := self._candidate(repo)) is not None
        ]

    @property
    def forge_name(self) -> str | None:
        if self.found:
            return self.found[0].forge.NAME
        return self.forge.NAME if self.forge else None

    def _candidate(self, repo: WebhookRepo) -> Candidate | None:
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
            return Candidate(repo, forge, event) if event.control.repo == repo.name else None
        return Candidate(repo, forge, event) if self.path or follows(repo, event) else None

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


def proven_candidates(candidates: Candidates, config: WebhookConfig) -> list[Candidate]:
    """Those one of whose secrets proves who sent it.

    :class:`ConfigError` where there are none and a secret of repos.yml cannot be read, whoever
    asks: a stranger is not to learn from it which repos there are.
    """
    trouble: list[ConfigError] = []
    found = [
        candidate
        for candidate in candidates.found
        if _is_proved(candidates.delivery, candidate, trouble)
    ]
    if not found:
        _as_if_proved(candidates, trouble)
        for repo in config.repos.values():
            for secret in repo.secrets:
                _try(secret, trouble)
        if trouble:
            raise trouble[0]
    return found


def _is_proved(delivery: Delivery, candidate: Candidate, trouble: list[ConfigError]) -> bool:
    """A secret that cannot be read does not keep another one from being tried."""
    for secret in candidate.repo.secrets:
        key = _try(secret, trouble)
        if key == _PUBLIC and candidate.forge.NAME != "sourcehut":
            continue
        try:
            if key and candidate.forge.verify(delivery, key):
                return True
        except ConfigError as error:
            trouble.append(error)
    return False


def _as_if_proved(candidates: Candidates, trouble: list[ConfigError]) -> None:
    if candidates.forge is not None and not any(
        candidate.repo.secrets for candidate in candidates.found
    ):
        try:
            candidates.forge.verify(candidates.delivery, _NOBODY)
        except ConfigError as error:
            trouble.append(error)


def _try(secret: Secret, trouble: list[ConfigError]) -> bytes:
    try:
        return secret.reveal().encode("utf-8", "surrogateescape")
    except ConfigError as error:
        trouble.append(error)
        return b""


def _why_not_meant(candidates: Candidates, forge: str, named: WebhookRepo | None) -> str:
    if named is not None and candidates.event.control is not None and named.forge != "sourcehut":
        return f"the order names another repo than its URL, which says {named.name}"
    if named is not None:
        return f"{named.name} is a repo of {named.forge}, and this comes from {forge}"
    name = printable(candidates.path or candidates.event.full_name or "-")
    return f"no repo is meant by it (it comes from {forge} and names {name})"


def why_refused(candidates: Candidates, config: WebhookConfig) -> str:
    """For the inbox, that is for the operator only."""
    if candidates.forge is None:
        return "no header of a forge that deployctl knows"
    if not candidates.found:
        return _why_not_meant(candidates, candidates.forge.NAME, config.repos.get(candidates.path))
    if not any(candidate.repo.secrets for candidate in candidates.found):
        return "the repo has no webhook_secret: set it here and at the forge"
    forge, name = candidates.found[0].forge, candidates.found[0].repo.name
    given = next(
        (one for one in (_SIGNED, forge.HEADER) if one in candidates.delivery.headers), None
    )
    if given is None:
        return f"there is no proof of a secret: set one at the forge ({forge.NAME}, {forge.HEADER})"
    return (
        f"the signature or token ({given}) does not fit webhook_secret of {name}: the forge has "
        "another secret, or the time stamp is not of now"
    )
