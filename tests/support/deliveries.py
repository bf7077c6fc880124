"""Deliveries as GitHub sends them."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from collections.abc import Mapping
from typing import Any

from deployctl.config.compiled import WebhookConfig
from deployctl.webhook.request import Request

SECRET = "It's a Secret to Everybody"
REVISION = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
ZEROS = "0" * 40


def push(**changes: Any) -> dict[str, Any]:
    """Return a push event: the members that deployctl reads.

    ``changes`` replace members; None leaves the member out.
    """
    document = {
        "ref": "refs/heads/main",
        "after": REVISION,
        "deleted": False,
        "repository": {"id": 1296269, "full_name": "octo/Hello-World"},
        "pusher": {"name": "octocat", "email": "octocat@example.org"},
        "head_commit": {"message": "Fix all the bugs\n\nAt last."},
        **changes,
    }
    return {name: value for name, value in document.items() if value is not None}


def signature(body: bytes, secret: str = SECRET) -> str:
    """Return the value of GitHub's header X-Hub-Signature-256 for this body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(
    body: bytes, *, secret: str | None = SECRET, event: str = "push", number: str | None = "d-1"
) -> dict[str, str]:
    """Return the headers of a delivery, with lower-case names.

    ``secret`` None: not signed. ``number`` is the delivery's id; None: without one.
    """
    made = {"content-type": "application/json", "content-length": str(len(body))}
    made["x-github-event"] = event
    if number is not None:
        made["x-github-delivery"] = number
    if secret is not None:
        made["x-hub-signature-256"] = signature(body, secret)
    return made


def request(
    document: Mapping[str, Any] | bytes, *, path: str = "", method: str = "POST", **about: Any
) -> Request:
    """Return a signed delivery as a request; ``about`` are arguments for :func:`headers`."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Request(method, path, headers(body, **about), io.BytesIO(body))


def webhook_config(state_dir: object, **repos: Mapping[str, Any]) -> WebhookConfig:
    """Return the config that the webhook reads.

    Each repo follows main of octo/Hello-World with SECRET, but for the keys given here.
    """
    usual = {
        "branch": "main",
        "tags": None,
        "on": "push",
        "forge": None,
        "id": "1296269",
        "full_name": None,
        "secrets": [SECRET],
    }
    filled = {name: {**usual, **repo} for name, repo in repos.items()}
    return WebhookConfig({"state_dir": str(state_dir), "max_body": 100_000, "repos": filled})
