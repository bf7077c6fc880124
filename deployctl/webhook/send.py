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

# What a forge waits at the most, in seconds.
_PATIENCE = 15.0


@dataclass(frozen=True)
class Sent:
    """What the real URL answered; ``answer`` is its JSON, None where it is none of ours."""

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
    """A push of the tip of the branch (or of the newest tag), as the repo's forge would sign it."""
    repo = site.repo
    tip, live = remote_tip(site), site.layout.live()
    sample = samples.Sample(
        ref=tip.ref,
        revision=tip.revision,
        before=(live.revision if live else None) or samples.ZEROS,
        number=str(uuid.uuid4()),
        now=now,
        repository_id=repo.id,
        full_name=repo.full_name,
    )
    return samples.push(repo.forge or "github", sample, _secret(repo))


def make_control_message(
    repo: Repo, action: str, to: str | None, origin: Origin
) -> tuple[dict[str, str], bytes]:
    """A control message, signed."""
    number = f"msg_{uuid.uuid4().hex}"
    sample = samples.Sample("", "", number, origin.now, actor=origin.actor)
    return samples.control_message(action, repo.name, to, sample, _secret(repo))


def _secret(repo: Repo) -> bytes:
    if not repo.webhook_secrets:
        raise UsageError(f"{repo.name} has no webhook_secret: set one, here and at the forge")
    return repo.webhook_secrets[0].reveal().encode("utf-8", "surrogateescape")


def send(url: str, headers: dict[str, str], body: bytes) -> Sent:
    """POST it as a forge does: no redirect is followed, no proxy of this shell is used."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.post(
                url, body, headers=headers, timeout=_PATIENCE, allow_redirects=False
            )
        except requests.RequestException as error:
            raise DeployctlError(
                f"cannot reach {url}: {error}; is that the URL that the forge has, and does the "
                "web server run?"
            ) from error
    return Sent(url, response.status_code, _answer(response.text), response.text)


def _answer(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    ours = isinstance(document, dict) and {"result", "reason"} <= document.keys()
    return document if ours else None
