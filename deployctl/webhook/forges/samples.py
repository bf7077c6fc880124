"""Deliveries as the forges make them, to try a webhook with: the other side of ``verify``."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deployctl.errors import UsageError
from deployctl.system import lean
from deployctl.webhook.forges import control, standard_webhooks

ZEROS = "0" * 40


@dataclass(frozen=True)
class Sample:
    """What a delivery tells: a ref by its full name, moved from ``before`` to ``revision``.

    ``number`` is the delivery's id, ``now`` in seconds; ``repository_id`` and ``full_name`` as
    repos.yml has them, None where it does not.
    """

    ref: str
    revision: str
    number: str
    now: float
    before: str = ZEROS
    repository_id: str | None = None
    full_name: str | None = None
    actor: str = "deployctl"
    message: str = "A test delivery"


Made = tuple[dict[str, str], dict[str, Any]]
Prove = Callable[[bytes, bytes, Sample], dict[str, str]]


def push(forge: str, sample: Sample, secret: bytes) -> tuple[dict[str, str], bytes]:
    """A push as that forge delivers it, with the proof of the secret -> (headers, body).

    UsageError for SourceHut, whose private key only it has.
    """
    if forge not in _FORGES:
        raise UsageError(f"only {forge} itself can sign a delivery: push something, and look at it")
    make, prove = _FORGES[forge]
    headers, document = make(sample)
    return _signed(headers, document, prove, sample, secret)


def control_message(
    action: str, repo: str, to: str | None, sample: Sample, secret: bytes
) -> tuple[dict[str, str], bytes]:
    """A control message -> (headers, body)."""
    document = {"action": action, "repo": repo, "to": to, "actor": sample.actor}
    return _signed({}, document, _standard(control.key_of), sample, secret)


def _signed(
    headers: Mapping[str, str],
    document: Mapping[str, Any],
    prove: Prove,
    sample: Sample,
    secret: bytes,
) -> tuple[dict[str, str], bytes]:
    body = json.dumps(document).encode()
    usual = {"Content-Type": "application/json", "User-Agent": "deployctl"}
    return {**usual, **headers, **prove(body, secret, sample)}, body


def _hmac(header: str, prefix: str = "", algorithm: str = "sha256") -> Prove:
    def prove(body: bytes, secret: bytes, _sample: Sample) -> dict[str, str]:
        return {header: prefix + lean.hmac(secret, body, algorithm).hex()}

    return prove


def _token(header: str) -> Prove:
    return lambda _body, secret, _sample: {header: secret.decode("utf-8", "surrogateescape")}


def _basic(_body: bytes, secret: bytes, _sample: Sample) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(b"deployctl:" + secret).decode()}


def _gitee(_body: bytes, secret: bytes, sample: Sample) -> dict[str, str]:
    stamp = str(int(sample.now * 1000))
    digest = lean.hmac(secret, stamp.encode() + b"\n" + secret)
    return {"X-Gitee-Timestamp": stamp, "X-Gitee-Token": base64.b64encode(digest).decode()}


def _standard(key_of: Callable[[bytes], bytes]) -> Prove:
    def prove(body: bytes, secret: bytes, sample: Sample) -> dict[str, str]:
        stamp = str(int(sample.now))
        signature = standard_webhooks.signature(key_of(secret), sample.number, stamp, body)
        return {
            "webhook-id": sample.number,
            "webhook-timestamp": stamp,
            "webhook-signature": signature,
        }

    return prove


def _gitlab_proof(body: bytes, secret: bytes, sample: Sample) -> dict[str, str]:
    if secret.startswith(standard_webhooks.PREFIX):
        return _standard(control.key_of)(body, secret, sample)
    return _token("X-Gitlab-Token")(body, secret, sample)


def _number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def _like_github(sample: Sample) -> dict[str, Any]:
    commit = {"id": sample.revision, "message": sample.message}
    return {
        "ref": sample.ref,
        "before": sample.before,
        "after": sample.revision,
        "deleted": False,
        "repository": {"id": _number(sample.repository_id), "full_name": sample.full_name},
        "pusher": {"name": sample.actor, "login": sample.actor},
        "sender": {"login": sample.actor},
        "head_commit": commit,
        "commits": [commit],
    }


def _github_family(*prefixes: str) -> Callable[[Sample], Made]:
    def make(sample: Sample) -> Made:
        names = {f"{prefix}-Event": "push" for prefix in prefixes}
        numbers = {f"{prefix}-Delivery": sample.number for prefix in prefixes}
        return {**names, **numbers}, _like_github(sample)

    return make


def _gitee_push(sample: Sample) -> Made:
    return {"X-Gitee-Event": "Push Hook", "X-Gitee-Ping": "false"}, _like_github(sample)


def _like_gitlab(sample: Sample) -> dict[str, Any]:
    return {
        "object_kind": "push",
        "ref": sample.ref,
        "before": sample.before,
        "after": sample.revision,
        "checkout_sha": sample.revision,
        "project_id": _number(sample.repository_id),
        "project": {"path_with_namespace": sample.full_name},
        "user_username": sample.actor,
        "commits": [{"id": sample.revision, "message": sample.message}],
    }


def _gitlab(sample: Sample) -> Made:
    headers = {"X-Gitlab-Event": "Push Hook", "Idempotency-Key": sample.number}
    return headers, _like_gitlab(sample)


def _codeup(sample: Sample) -> Made:
    return {"Codeup-Event": "Push Hook"}, _like_gitlab(sample)


def _bitbucket(sample: Sample) -> Made:
    _, kind, name = sample.ref.split("/", 2)
    target = {"hash": sample.revision, "message": sample.message}
    new = {"type": {"heads": "branch", "tags": "tag"}[kind], "name": name, "target": target}
    document = {
        "repository": {"uuid": sample.repository_id, "full_name": sample.full_name},
        "actor": {"nickname": sample.actor},
        "push": {"changes": [{"old": None, "new": new}]},
    }
    return {"X-Event-Key": "repo:push", "X-Request-UUID": sample.number}, document


def _bitbucket_server(sample: Sample) -> Made:
    key, _, slug = (sample.full_name or "").partition("/")
    change = {
        "ref": {"id": sample.ref},
        "type": "UPDATE",
        "fromHash": sample.before,
        "toHash": sample.revision,
    }
    document = {
        "repository": {
            "id": _number(sample.repository_id),
            "slug": slug,
            "project": {"key": key},
        },
        "actor": {"name": sample.actor},
        "changes": [change],
    }
    return {"X-Event-Key": "repo:refs_changed", "X-Request-Id": sample.number}, document


def _azure(sample: Sample) -> Made:
    project, _, name = (sample.full_name or "").partition("/")
    update = {
        "name": sample.ref,
        "oldObjectId": sample.before,
        "newObjectId": sample.revision,
    }
    resource = {
        "refUpdates": [update],
        "repository": {"id": sample.repository_id, "name": name, "project": {"name": project}},
        "pushedBy": {"displayName": sample.actor},
        "commits": [{"commitId": sample.revision, "comment": sample.message}],
    }
    return {}, {"id": sample.number, "eventType": "git.push", "resource": resource}


def _standard_push(sample: Sample) -> Made:
    data = {
        "ref": sample.ref,
        "revision": sample.revision,
        "repository": {"id": sample.repository_id, "full_name": sample.full_name},
        "actor": sample.actor,
        "message": sample.message,
    }
    return {}, {"type": "push", "data": data}


_FORGES: dict[str, tuple[Callable[[Sample], Made], Prove]] = {
    "github": (_github_family("X-GitHub"), _hmac("X-Hub-Signature-256", "sha256=")),
    "gitlab": (_gitlab, _gitlab_proof),
    "bitbucket": (_bitbucket, _hmac("X-Hub-Signature", "sha256=")),
    "bitbucket-server": (_bitbucket_server, _hmac("X-Hub-Signature", "sha256=")),
    "gitea": (_github_family("X-GitHub", "X-Gogs", "X-Gitea"), _hmac("X-Gitea-Signature")),
    "forgejo": (
        _github_family("X-GitHub", "X-Gogs", "X-Gitea", "X-Forgejo"),
        _hmac("X-Forgejo-Signature"),
    ),
    "gogs": (_github_family("X-GitHub", "X-Gogs"), _hmac("X-Gogs-Signature")),
    "gitee": (_gitee_push, _gitee),
    "codeup": (_codeup, _token("X-Codeup-Token")),
    "coding": (_github_family("X-Coding"), _hmac("X-Coding-Signature", "sha1=", "sha1")),
    "azure-devops": (_azure, _basic),
    "standard-webhooks": (_standard_push, _standard(control.key_of)),
}
