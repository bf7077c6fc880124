"""Make signed test deliveries as each forge sends them: the counterpart of ``verify``."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deployctl.errors import UsageError
from deployctl.system import fast_imports
from deployctl.webhook.forges import control, standard_webhooks

ZEROS = "0" * 40


@dataclass(frozen=True)
class Sample:
    """The content of a test delivery: a ref (full name), moved from ``before`` to ``revision``.

    ``now`` is in seconds; ``repository_id`` and ``full_name`` are those of repos.yml, None where it
    has none.
    """

    ref: str
    revision: str
    delivery_id: str
    now: float
    before: str = ZEROS
    repository_id: str | None = None
    full_name: str | None = None
    actor: str = "deployctl"
    message: str = "A test delivery"


# The headers and the JSON of a delivery, before it is signed.
Unsigned = tuple[dict[str, str], dict[str, Any]]
# From body, secret and sample to the headers that prove the secret.
Prove = Callable[[bytes, bytes, Sample], dict[str, str]]


def signed_push(forge: str, sample: Sample, secret: bytes) -> tuple[dict[str, str], bytes]:
    """Make the delivery of a push as that forge sends it, signed -> (headers, body).

    Raise UsageError for SourceHut: nobody else has its private key.
    """
    if forge not in _FORGES:
        raise UsageError(f"only {forge} itself can sign a delivery: push something, and look at it")
    make, prove = _FORGES[forge]
    headers, document = make(sample)
    return _signed(headers, document, prove, sample, secret)


def signed_control_message(
    action: str, repo: str, to: str | None, sample: Sample, secret: bytes
) -> tuple[dict[str, str], bytes]:
    """Make a signed control message -> (headers, body)."""
    document = {"action": action, "repo": repo, "to": to, "actor": sample.actor}
    return _signed({}, document, _standard_proof(control.key_from_secret), sample, secret)


def _signed(
    headers: Mapping[str, str],
    document: Mapping[str, Any],
    prove: Prove,
    sample: Sample,
    secret: bytes,
) -> tuple[dict[str, str], bytes]:
    body = json.dumps(document).encode()
    common = {"Content-Type": "application/json", "User-Agent": "deployctl"}
    return {**common, **headers, **prove(body, secret, sample)}, body


def _hmac_proof(header: str, prefix: str = "", algorithm: str = "sha256") -> Prove:
    def prove(body: bytes, secret: bytes, _sample: Sample) -> dict[str, str]:
        return {header: prefix + fast_imports.hmac(secret, body, algorithm).hex()}

    return prove


def _token_proof(header: str) -> Prove:
    return lambda _body, secret, _sample: {header: secret.decode("utf-8", "surrogateescape")}


def _basic_proof(_body: bytes, secret: bytes, _sample: Sample) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(b"deployctl:" + secret).decode()}


def _gitee_proof(_body: bytes, secret: bytes, sample: Sample) -> dict[str, str]:
    stamp = str(int(sample.now * 1000))
    digest = fast_imports.hmac(secret, stamp.encode() + b"\n" + secret)
    return {"X-Gitee-Timestamp": stamp, "X-Gitee-Token": base64.b64encode(digest).decode()}


def _standard_proof(key_from_secret: Callable[[bytes], bytes]) -> Prove:
    def prove(body: bytes, secret: bytes, sample: Sample) -> dict[str, str]:
        stamp = str(int(sample.now))
        signature = standard_webhooks.signature(
            key_from_secret(secret), sample.delivery_id, stamp, body
        )
        return {
            "webhook-id": sample.delivery_id,
            "webhook-timestamp": stamp,
            "webhook-signature": signature,
        }

    return prove


def _gitlab_proof(body: bytes, secret: bytes, sample: Sample) -> dict[str, str]:
    if secret.startswith(standard_webhooks.PREFIX):
        return _standard_proof(control.key_from_secret)(body, secret, sample)
    return _token_proof("X-Gitlab-Token")(body, secret, sample)


def _as_number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def _like_github(sample: Sample) -> dict[str, Any]:
    commit = {"id": sample.revision, "message": sample.message}
    return {
        "ref": sample.ref,
        "before": sample.before,
        "after": sample.revision,
        "deleted": False,
        "repository": {"id": _as_number(sample.repository_id), "full_name": sample.full_name},
        "pusher": {"name": sample.actor, "login": sample.actor},
        "sender": {"login": sample.actor},
        "head_commit": commit,
        "commits": [commit],
    }


def _github_family_push(*prefixes: str) -> Callable[[Sample], Unsigned]:
    def make(sample: Sample) -> Unsigned:
        names = {f"{prefix}-Event": "push" for prefix in prefixes}
        ids = {f"{prefix}-Delivery": sample.delivery_id for prefix in prefixes}
        return {**names, **ids}, _like_github(sample)

    return make


def _gitee_push(sample: Sample) -> Unsigned:
    return {"X-Gitee-Event": "Push Hook", "X-Gitee-Ping": "false"}, _like_github(sample)


def _like_gitlab(sample: Sample) -> dict[str, Any]:
    return {
        "object_kind": "push",
        "ref": sample.ref,
        "before": sample.before,
        "after": sample.revision,
        "checkout_sha": sample.revision,
        "project_id": _as_number(sample.repository_id),
        "project": {"path_with_namespace": sample.full_name},
        "user_username": sample.actor,
        "commits": [{"id": sample.revision, "message": sample.message}],
    }


def _gitlab_push(sample: Sample) -> Unsigned:
    headers = {"X-Gitlab-Event": "Push Hook", "Idempotency-Key": sample.delivery_id}
    return headers, _like_gitlab(sample)


def _codeup_push(sample: Sample) -> Unsigned:
    return {"Codeup-Event": "Push Hook"}, _like_gitlab(sample)


def _bitbucket_push(sample: Sample) -> Unsigned:
    _, kind, name = sample.ref.split("/", 2)
    target = {"hash": sample.revision, "message": sample.message}
    new = {"type": {"heads": "branch", "tags": "tag"}[kind], "name": name, "target": target}
    document = {
        "repository": {"uuid": sample.repository_id, "full_name": sample.full_name},
        "actor": {"nickname": sample.actor},
        "push": {"changes": [{"old": None, "new": new}]},
    }
    return {"X-Event-Key": "repo:push", "X-Request-UUID": sample.delivery_id}, document


def _bitbucket_server_push(sample: Sample) -> Unsigned:
    key, _, slug = (sample.full_name or "").partition("/")
    change = {
        "ref": {"id": sample.ref},
        "type": "UPDATE",
        "fromHash": sample.before,
        "toHash": sample.revision,
    }
    document = {
        "repository": {
            "id": _as_number(sample.repository_id),
            "slug": slug,
            "project": {"key": key},
        },
        "actor": {"name": sample.actor},
        "changes": [change],
    }
    return {"X-Event-Key": "repo:refs_changed", "X-Request-Id": sample.delivery_id}, document


def _azure_push(sample: Sample) -> Unsigned:
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
    return {}, {"id": sample.delivery_id, "eventType": "git.push", "resource": resource}


def _standard_push(sample: Sample) -> Unsigned:
    data = {
        "ref": sample.ref,
        "revision": sample.revision,
        "repository": {"id": sample.repository_id, "full_name": sample.full_name},
        "actor": sample.actor,
        "message": sample.message,
    }
    return {}, {"type": "push", "data": data}


_FORGES: dict[str, tuple[Callable[[Sample], Unsigned], Prove]] = {
    "github": (_github_family_push("X-GitHub"), _hmac_proof("X-Hub-Signature-256", "sha256=")),
    "gitlab": (_gitlab_push, _gitlab_proof),
    "bitbucket": (_bitbucket_push, _hmac_proof("X-Hub-Signature", "sha256=")),
    "bitbucket-server": (_bitbucket_server_push, _hmac_proof("X-Hub-Signature", "sha256=")),
    "gitea": (
        _github_family_push("X-GitHub", "X-Gogs", "X-Gitea"),
        _hmac_proof("X-Gitea-Signature"),
    ),
    "forgejo": (
        _github_family_push("X-GitHub", "X-Gogs", "X-Gitea", "X-Forgejo"),
        _hmac_proof("X-Forgejo-Signature"),
    ),
    "gogs": (_github_family_push("X-GitHub", "X-Gogs"), _hmac_proof("X-Gogs-Signature")),
    "gitee": (_gitee_push, _gitee_proof),
    "codeup": (_codeup_push, _token_proof("X-Codeup-Token")),
    "coding": (_github_family_push("X-Coding"), _hmac_proof("X-Coding-Signature", "sha1=", "sha1")),
    "azure-devops": (_azure_push, _basic_proof),
    "standard-webhooks": (_standard_push, _standard_proof(control.key_from_secret)),
}
