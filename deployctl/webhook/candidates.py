"""Match a delivery to repos: the candidates, and those whose secret verifies its signature.

Every delivery loads this module, so it imports nothing that is slow to load.
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

# A request for an unknown repo is verified with this secret, so that it takes as long as others.
_DUMMY_SECRET = b"nobody's secret"
# The public key of sr.ht: everybody knows it, so it must not be the secret of another forge.
_SOURCEHUT_PUBLIC_KEY = b"uX7KWyyDNMaBma4aVbJ/cbUQpdjqczuCyK/HxzV/u+4="
# The header for the signatures of Standard Webhooks and of GitLab's signing tokens.
_STANDARD_HEADER = "webhook-signature"


class Candidate:
    """A repo that a delivery may be for, with the event as read by the module of its forge."""

    __slots__ = ("event", "forge", "repo")

    def __init__(self, repo: WebhookRepo, forge: Forge, event: Event) -> None:
        self.repo = repo
        self.forge = forge
        self.event = event


class Candidates:
    """A parsed delivery and the repos that it may be for; nothing is verified yet.

    ``forge`` is the forge that the delivery seems to come from (None: unknown), ``event`` is the
    event that the module of that forge reads in it, and ``found`` are the candidates. ``path`` is
    the name of the repo in the URL, or empty. Creation raises MalformedError if the delivery cannot
    be parsed.
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
        self.forge = forges.load_forge(name) if name else None
        self.event = self._read(name)[1] if name else Event("other", "")
        self.found = [
            candidate
            for repo in config.repos.values()
            if (candidate := self._candidate(repo)) is not None
        ]

    @property
    def forge_name(self) -> str | None:
        """Return the forge of the first candidate, or the recognised one; None: unknown."""
        if self.found:
            return self.found[0].forge.NAME
        return self.forge.NAME if self.forge else None

    def _candidate(self, repo: WebhookRepo) -> Candidate | None:
        """Return a candidate if the URL names this repo, or if it follows the event's repository.

        The delivery is read as one of the forge that repos.yml names, provided that the headers of
        that forge are present; headers of other forges may be present too.
        """
        if self.path not in ("", repo.name):
            return None
        name = forges.forge_name_for(repo.forge, self.forge, self.delivery)
        if name is None:
            return None
        forge, event = self._read(name)
        if event.control is not None:
            return Candidate(repo, forge, event) if event.control.repo == repo.name else None
        return Candidate(repo, forge, event) if self.path or follows(repo, event) else None

    def _read(self, name: str) -> tuple[Forge, Event]:
        if name not in self._events:
            forge = forges.load_forge(name)
            self._events[name] = (forge, forge.read(self.delivery))
        return self._events[name]


def follows(repo: WebhookRepo, event: Event) -> bool:
    """Tell whether a repo of repos.yml follows the repository of an event.

    Ids are compared where both sides have one, as an id stays when a repository is renamed; else
    the full names, without regard to upper and lower case.
    """
    if repo.id is not None and event.repository_ids:
        return _normalised_id(repo.id) in map(_normalised_id, event.repository_ids)
    if repo.full_name is None or event.full_name is None:
        return False
    return repo.full_name.casefold() == event.full_name.casefold()


def _normalised_id(text: str) -> str:
    """Return an id without braces and in lower case: forges write a UUID in several ways."""
    return text.strip("{}").lower()


def proven_candidates(candidates: Candidates, config: WebhookConfig) -> list[Candidate]:
    """Return the candidates that have a secret which verifies the delivery.

    If there are none, raise :class:`ConfigError` if any secret of repos.yml cannot be read. All
    secrets are read then, so that the answer does not tell a stranger which repos exist.
    """
    errors: list[ConfigError] = []
    found = [
        candidate
        for candidate in candidates.found
        if _is_verified(candidates.delivery, candidate, errors)
    ]
    if not found:
        _verify_with_dummy_secret(candidates, errors)
        for repo in config.repos.values():
            for secret in repo.secrets:
                _reveal(secret, errors)
        if errors:
            raise errors[0]
    return found


def _is_verified(delivery: Delivery, candidate: Candidate, errors: list[ConfigError]) -> bool:
    """Tell whether a secret of the candidate verifies the delivery.

    A secret that cannot be read is added to ``errors``, and the other secrets are still tried.
    """
    for secret in candidate.repo.secrets:
        key = _reveal(secret, errors)
        if key == _SOURCEHUT_PUBLIC_KEY and candidate.forge.NAME != "sourcehut":
            continue
        try:
            if key and candidate.forge.verify(delivery, key):
                return True
        except ConfigError as error:
            errors.append(error)
    return False


def _verify_with_dummy_secret(candidates: Candidates, errors: list[ConfigError]) -> None:
    """Do the work of a verification where no candidate has a secret.

    So the time that an answer takes does not tell a stranger which repos exist.
    """
    if candidates.forge is not None and not any(
        candidate.repo.secrets for candidate in candidates.found
    ):
        try:
            candidates.forge.verify(candidates.delivery, _DUMMY_SECRET)
        except ConfigError as error:
            errors.append(error)


def _reveal(secret: Secret, errors: list[ConfigError]) -> bytes:
    """Return the value of a secret; if it cannot be read, add to ``errors`` and return nothing."""
    try:
        return secret.reveal().encode("utf-8", "surrogateescape")
    except ConfigError as error:
        errors.append(error)
        return b""


def _reason_without_candidates(
    candidates: Candidates, forge: str, named: WebhookRepo | None
) -> str:
    if named is not None and candidates.event.control is not None and named.forge != "sourcehut":
        return f"the order names another repo than its URL, which says {named.name}"
    if named is not None:
        return f"{named.name} is a repo of {named.forge}, and this comes from {forge}"
    name = printable(candidates.path or candidates.event.full_name or "-")
    return f"no repo of repos.yml matches it (it comes from {forge} and names {name})"


def refusal_reason(candidates: Candidates, config: WebhookConfig) -> str:
    """Return why a delivery is refused; for the record, so for the operator and not the sender."""
    if candidates.forge is None:
        return "no header of a forge that deployctl knows"
    if not candidates.found:
        named = config.repos.get(candidates.path)
        return _reason_without_candidates(candidates, candidates.forge.NAME, named)
    if not any(candidate.repo.secrets for candidate in candidates.found):
        return "the repo has no webhook_secret: set it here and at the forge"
    forge, name = candidates.found[0].forge, candidates.found[0].repo.name
    given = next(
        (
            header
            for header in (_STANDARD_HEADER, forge.HEADER)
            if header in candidates.delivery.headers
        ),
        None,
    )
    if given is None:
        return f"there is no proof of a secret: set one at the forge ({forge.NAME}, {forge.HEADER})"
    return (
        f"the signature or token ({given}) does not fit webhook_secret of {name}: the forge has "
        "another secret, or the time stamp is not of now"
    )
