"""Make a signed test delivery and send it to the real URL, as the repo's forge would."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from deployctl.errors import DeployctlError, UsageError
from deployctl.releases.site import Site, remote_tip
from deployctl.values.deployment import Origin
from deployctl.values.repo import Repo
from deployctl.webhook.forges import samples

# No forge waits longer for an answer.
_TIMEOUT = 15.0  # seconds


@dataclass(frozen=True)
class SentDelivery:
    """The answer of a URL to a test delivery.

    ``text`` is its body; ``answer`` is the JSON in it, None where deployctl did not send it.
    """

    url: str
    status: int
    answer: dict[str, Any] | None
    text: str

    @property
    def ok(self) -> bool:
        return self.answer is not None and 200 <= self.status < 300

    def to_json(self) -> dict[str, Any]:
        return {"url": self.url, "status": self.status, "answer": self.answer}


def make_push(site: Site, now: float) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a push of the tip of the branch, or of the newest tag.

    It is signed as the repo's forge would sign it; ``now`` is in seconds.
    """
    repo = site.repo
    tip, live = remote_tip(site), site.layout.live()
    sample = samples.Sample(
        ref=tip.ref,
        revision=tip.revision,
        before=(live.revision if live else None) or samples.ZEROS,
        delivery_id=str(uuid.uuid4()),
        now=now,
        repository_id=repo.id,
        full_name=repo.full_name,
    )
    return samples.signed_push(repo.forge or "github", sample, _secret(repo))


def make_control_message(
    repo: Repo, action: str, to: str | None, origin: Origin
) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a signed control message; ``action`` is deploy or rollback.

    ``to`` is a revision, or for a rollback also a deployment's number. None: the newest
    commit that the repo follows, or the last good release.
    """
    message_id = f"msg_{uuid.uuid4().hex}"
    sample = samples.Sample("", "", message_id, origin.now, actor=origin.actor)
    return samples.signed_control_message(action, repo.name, to, sample, _secret(repo))


def _secret(repo: Repo) -> bytes:
    if not repo.webhook_secrets:
        raise UsageError(f"{repo.name} has no webhook_secret: set one, here and at the forge")
    return repo.webhook_secrets[0].reveal().encode("utf-8", "surrogateescape")


def post_delivery(url: str, headers: dict[str, str], body: bytes) -> SentDelivery:
    """Send a POST request as a forge does, and return the answer.

    No redirect is followed, and no proxy from the environment is used.
    """
    import requests

    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.post(
                url, body, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as error:
            raise DeployctlError(
                f"cannot reach {url}: {error}; is that the URL that the forge has, and does the "
                "web server run?"
            ) from error
    return SentDelivery(url, response.status_code, _answer(response.text), response.text)


def _answer(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    is_from_deployctl = isinstance(document, dict) and {"result", "reason"} <= document.keys()
    return document if is_from_deployctl else None
