"""Deliveries as each forge sends them: documents, headers, and signatures or tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deployctl.webhook.forges.event import Delivery
from deployctl.webhook.request import Request
from tests.support.deliveries import REVISION, ZEROS

NOW = 1_700_000_000.5
SECRET = "It's a Secret to Everybody"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BEFORE = "a" * 40
UUID = "278d5cd2-584d-4b63-824a-2ba458937249"

Document = dict[str, Any]
# Body and secret -> the headers that prove that the sender knows the secret.
Prove = Callable[[bytes, str], dict[str, str]]


@dataclass(frozen=True)
class Forge:
    """A forge, and the deliveries of one repository there: ``ada`` pushed REVISION to ``main``.

    ``prove`` makes the headers that prove the secret for a body, ``covers_body`` tells whether
    they sign the body. ``push``, ``tag`` and ``deletion`` are documents; a tag is sent with
    ``tag_headers``. ``pings`` and ``other_events`` are headers and document of deliveries that are
    no push. Each of ``malformed`` is a document with a wrong type or value, as no forge sends it.
    ``id`` and ``full_name`` are what repos.yml would name, ``number`` is the delivery's id, and
    ``wrong`` is another secret, of the same format.
    """

    name: str
    headers: Mapping[str, str]
    prove: Prove
    push: Document
    tag: Document
    deletion: Document
    number: str | None
    id: str | None
    full_name: str | None
    subject: str | None = "Fix all the bugs"
    secret: str = SECRET
    wrong: str = "another"
    covers_body: bool = True
    tag_headers: Mapping[str, str] = field(default_factory=dict)
    pings: tuple[tuple[Mapping[str, str], Document], ...] = ()
    other_events: tuple[tuple[Mapping[str, str], Document], ...] = ()
    malformed: tuple[Document, ...] = ()

    def delivery(
        self,
        document: Document | None = None,
        *,
        changes: Mapping[str, str] | None = None,
        secret: str | None = None,
        now: float = NOW,
    ) -> Delivery:
        """Return a delivery with a right proof (of ``secret``); ``changes`` replace headers.

        ``document`` None: the push. ``now`` is when it was received, in seconds since 1970.
        """
        body = json.dumps(self.push if document is None else document).encode()
        proof = self.prove(body, self.secret if secret is None else secret)
        headers = {**self.headers, **proof, **(changes or {})}
        return Delivery(headers, body, json.loads(body), received_at=now)

    def request(self, path: str = "/app", **about: Any) -> Request:
        """Return such a delivery as a request; ``about`` are arguments of :meth:`delivery`."""
        made = self.delivery(**about)
        length = {"content-type": "application/json", "content-length": str(len(made.body))}
        return Request("POST", path, {**length, **made.headers}, io.BytesIO(made.body))


def hexadecimal(header: str, prefix: str = "", algorithm: str = "sha256") -> Prove:
    """Return a function that signs the body: HMAC in hexadecimal, in this header."""

    def prove(body: bytes, secret: str) -> dict[str, str]:
        return {header: prefix + hmac.new(secret.encode(), body, algorithm).hexdigest()}

    return prove


def token(header: str) -> Prove:
    """Return a function that sends the secret itself in this header."""
    return lambda _body, secret: {header: secret}


def basic(_body: bytes, secret: str) -> dict[str, str]:
    """Return the header of HTTP basic authentication with the secret as password."""
    return {"authorization": "Basic " + base64.b64encode(f"ada:{secret}".encode()).decode()}


def gitee(_body: bytes, secret: str, stamp: str = "1700000000000") -> dict[str, str]:
    """Return the headers with which Gitee signs a time stamp, in milliseconds since 1970."""
    digest = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()
    return {"x-gitee-timestamp": stamp, "x-gitee-token": base64.b64encode(digest).decode()}


def standard(
    body: bytes, secret: str, stamp: int = int(NOW), number: str = "m-1"
) -> dict[str, str]:
    """Return the headers of Standard Webhooks; ``stamp`` is in seconds, ``number`` the id."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{number}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": number,
        "webhook-timestamp": str(stamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def altered(document: Document, *path: str | int, to: Any) -> Document:
    """Return a copy of the document in which the member at ``path`` has the value ``to``."""
    copy: Any = json.loads(json.dumps(document))
    parent = copy
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = to
    return dict(copy)


def _like_github(**more: Any) -> Document:
    return {
        "ref": "refs/heads/main",
        "before": BEFORE,
        "after": REVISION,
        "repository": {"id": 17, "full_name": "ada/blog"},
        "pusher": {"login": "ada"},
        "commits": [{"id": BEFORE, "message": "x"}, {"id": REVISION, "message": MESSAGE}],
        **more,
    }


def _like_gitlab(**more: Any) -> Document:
    return {
        "object_kind": "push",
        "ref": "refs/heads/main",
        "before": BEFORE,
        "after": REVISION,
        "checkout_sha": REVISION,
        "project_id": 17,
        "user_username": "ada",
        "user_name": "Ada Lovelace",
        "commits": [{"id": REVISION, "message": MESSAGE}],
        **more,
    }


def _bitbucket_cloud(*changes: Document) -> Document:
    return {
        "actor": {"display_name": "Ada Lovelace", "nickname": "ada"},
        "repository": {"uuid": "{" + UUID.upper() + "}", "full_name": "ada/blog"},
        "push": {"changes": [*changes]},
    }


def cloud_change(kind: str, name: str, *, deleted: bool = False) -> Document:
    """Return the change of one ref, as a push of Bitbucket Cloud lists it.

    ``kind`` is ``branch`` or ``tag``.
    """
    ref = {"type": kind, "name": name, "target": {"hash": REVISION, "message": MESSAGE}}
    return {"old": ref, "new": None} if deleted else {"old": None, "new": ref}


def _bitbucket_server(*changes: Document) -> Document:
    repository = {"id": 17, "slug": "blog", "project": {"key": "ADA"}}
    return {"actor": {"name": "ada"}, "repository": repository, "changes": [*changes]}


def server_change(ref: str, kind: str = "UPDATE", to: str = REVISION) -> Document:
    """Return the change of one ref, as a push of Bitbucket Server lists it."""
    return {"ref": {"id": ref}, "type": kind, "fromHash": BEFORE, "toHash": to}


def azure(*updates: Document, number: str = "e-1", kind: str = "git.push") -> Document:
    """Return an event of Azure DevOps with these updates of refs."""
    return {
        "id": number,
        "eventType": kind,
        "notificationId": 3,
        "resource": {
            "commits": [{"commitId": REVISION, "comment": MESSAGE}],
            "refUpdates": [*updates],
            "repository": {"id": UUID.upper(), "name": "blog", "project": {"name": "ada"}},
            "pushedBy": {"displayName": "ada"},
        },
    }


def azure_update(ref: str, to: str = REVISION) -> Document:
    """Return the update of one ref, as an event of Azure DevOps lists it."""
    return {"name": ref, "oldObjectId": BEFORE, "newObjectId": to}


def _standard_webhooks(**data: Any) -> Document:
    repository = {"id": "17", "full_name": "ada/blog"}
    usual = {"ref": "refs/heads/main", "revision": REVISION, "actor": "ada", "message": MESSAGE}
    return {"type": "push", "data": {**usual, "repository": repository, **data}}


MESSAGE = "Fix all the bugs\n\nAt last."
TAG = "refs/tags/v1.0"
LIKE_GITHUB: Document = {
    "push": _like_github(),
    "tag": _like_github(ref=TAG),
    "deletion": _like_github(after=ZEROS),
    "id": "17",
    "full_name": "ada/blog",
    "malformed": (
        *(_like_github(**{name: 7}) for name in ("ref", "after", "pusher", "commits")),
        *(_like_github(**{name: ""}) for name in ("ref", "after")),
        _like_github(after=REVISION[:-1]),
        _like_github(commits=["x"]),
        _like_github(commits=[{"id": REVISION, "message": 7}]),
        _like_github(repository={"id": "17"}),
        _like_github(repository=[]),
        _like_github(deleted="false"),
    ),
}
# Test deliveries of the Gitea family: no commit is new.
_TEST_PUSHES: tuple[tuple[Mapping[str, str], Document], ...] = tuple(
    ({}, _like_github(before=revision, after=revision)) for revision in (REVISION, ZEROS)
)
LIKE_GITLAB: Document = {
    "push": _like_gitlab(),
    "tag": _like_gitlab(object_kind="tag_push", ref=TAG, checkout_sha=REVISION),
    "deletion": _like_gitlab(after=ZEROS, checkout_sha=None),
    "id": "17",
    "pings": (({}, _like_gitlab(before=REVISION)),),
    "malformed": (
        *(_like_gitlab(**{name: 7}) for name in ("ref", "after", "checkout_sha", "user_name")),
        _like_gitlab(project_id="17"),
        _like_gitlab(commits={}),
        _like_gitlab(ref=""),
    ),
}


def _gitea_family(name: str, prefix: str, *older: str) -> Forge:
    """Return a forge that sends the headers of the ``older`` forges that it derives from, too."""
    headers: dict[str, str] = {}
    for each in (prefix, *older):
        headers |= {f"{each}-event": "push", f"{each}-delivery": "d-1"}
        headers[f"{each}-signature"] = "0" * 64
    event = f"{prefix}-event"
    return Forge(
        name,
        {**headers, "x-github-event": "push", "x-github-delivery": "d-2"},
        hexadecimal(f"{prefix}-signature"),
        number="d-1",
        pings=_TEST_PUSHES,
        other_events=(
            ({event: "create"}, {"ref": "main", "ref_type": "branch"}),
            ({event: "delete"}, {"ref": "main", "ref_type": "branch"}),
        ),
        **LIKE_GITHUB,
    )


FORGES = (
    Forge(
        "github",
        {"x-github-event": "push", "x-github-delivery": "d-1", "x-hub-signature": "sha1=0"},
        hexadecimal("x-hub-signature-256", "sha256="),
        number="d-1",
        pings=(({"x-github-event": "ping"}, {"zen": "Keep it."}),),
        other_events=(({"x-github-event": "delete"}, {"ref": "main"}),),
        **LIKE_GITHUB,
    ),
    Forge(
        "gitlab",
        {"x-gitlab-event": "Push Hook", "idempotency-key": "d-1", "x-gitlab-webhook-uuid": "w"},
        token("x-gitlab-token"),
        number="d-1",
        full_name="ada/group/blog",
        covers_body=False,
        tag_headers={"x-gitlab-event": "Tag Push Hook"},
        other_events=(
            ({"x-gitlab-event": "Pipeline Hook"}, {"object_kind": "pipeline", "ref": "main"}),
        ),
        **{
            **LIKE_GITLAB,
            "push": _like_gitlab(project={"path_with_namespace": "ada/group/blog"}),
        },
    ),
    Forge(
        "bitbucket",
        {"x-event-key": "repo:push", "x-request-uuid": "d-1", "x-hook-uuid": "h-1"},
        hexadecimal("x-hub-signature", "sha256="),
        push=_bitbucket_cloud(cloud_change("branch", "main")),
        tag=_bitbucket_cloud(cloud_change("tag", "v1.0")),
        deletion=_bitbucket_cloud(cloud_change("branch", "main", deleted=True)),
        number="d-1",
        id="{" + UUID + "}",
        full_name="ada/blog",
        other_events=(({"x-event-key": "repo:fork"}, {}),),
        malformed=(
            altered(_bitbucket_cloud(), "repository", "uuid", to=17),
            altered(_bitbucket_cloud(), "push", to=[]),
            altered(_bitbucket_cloud(), "push", "changes", to={}),
            _bitbucket_cloud({"old": None, "new": None}),
            _bitbucket_cloud({"old": None, "new": []}),
            altered(
                _bitbucket_cloud(cloud_change("branch", "main")),
                *("push", "changes", 0, "new", "target", "hash"),
                to="main",
            ),
            altered(_bitbucket_cloud(), "actor", to="ada"),
        ),
    ),
    Forge(
        "bitbucket-server",
        {"x-event-key": "repo:refs_changed", "x-request-id": "d-1"},
        hexadecimal("x-hub-signature", "sha256="),
        push=_bitbucket_server(server_change("refs/heads/main")),
        tag=_bitbucket_server(server_change(TAG, "ADD")),
        deletion=_bitbucket_server(server_change("refs/heads/main", "DELETE", ZEROS)),
        number="d-1",
        id="17",
        full_name="ADA/blog",
        subject=None,
        pings=(({"x-event-key": "diagnostics:ping"}, {"test": True}),),
        other_events=(({"x-event-key": "pr:opened"}, {}),),
        malformed=(
            altered(_bitbucket_server(), "repository", "id", to="17"),
            altered(_bitbucket_server(), "changes", to={}),
            _bitbucket_server({"ref": "refs/heads/main"}),
            _bitbucket_server(server_change("refs/heads/main", to="main")),
        ),
    ),
    _gitea_family("gitea", "x-gitea", "x-gogs"),
    _gitea_family("forgejo", "x-forgejo", "x-gitea", "x-gogs"),
    _gitea_family("gogs", "x-gogs"),
    Forge(
        "gitee",
        {"x-gitee-event": "Push Hook", "x-git-oschina-event": "Push Hook", "x-gitee-ping": "false"},
        gitee,
        number=None,
        covers_body=False,
        tag_headers={"x-gitee-event": "Tag Push Hook"},
        pings=(({"x-gitee-event": "push_hooks", "x-gitee-ping": "true"}, _like_github()),),
        other_events=(({"x-gitee-event": "Issue Hook"}, {}),),
        **LIKE_GITHUB,
    ),
    Forge(
        "codeup",
        {"codeup-event": "Push Hook"},
        token("x-codeup-token"),
        number=None,
        full_name=None,
        covers_body=False,
        tag_headers={"codeup-event": "Tag Push Hook"},
        other_events=(({"codeup-event": "Note Hook"}, {"object_kind": "note"}),),
        **LIKE_GITLAB,
    ),
    Forge(
        "coding",
        {"x-coding-event": "push", "x-coding-delivery": "d-1"},
        hexadecimal("x-coding-signature", "sha1=", "sha1"),
        number="d-1",
        pings=(({"x-coding-event": "ping"}, {"token": SECRET, "zen": "Coding!"}),),
        other_events=(({"x-coding-event": "topic"}, {}),),
        **LIKE_GITHUB,
    ),
    Forge(
        "azure-devops",
        {},
        basic,
        push=azure(azure_update("refs/heads/main")),
        tag=azure(azure_update(TAG)),
        deletion=azure(azure_update("refs/heads/main", ZEROS)),
        number="e-1",
        id=UUID,
        full_name="ada/blog",
        covers_body=False,
        pings=(({}, azure(number="03c164c2-8912-4d5e-8009-3707d5f83734")),),
        other_events=(({}, azure(kind="git.pullrequest.created")),),
        malformed=(
            altered(azure(), "resource", to=[]),
            altered(azure(), "resource", "refUpdates", to={}),
            altered(azure(), "resource", "commits", to=[azure_update("refs/heads/main")] * 2)
            | {"id": 7},
            azure(azure_update("refs/heads/main", "main")),
            azure(azure_update("")),
            altered(azure(), "resource", "repository", "id", to=17),
        ),
    ),
    Forge(
        "standard-webhooks",
        {},
        standard,
        push=_standard_webhooks(),
        tag=_standard_webhooks(ref=TAG),
        deletion=_standard_webhooks(deleted=True, revision=None),
        number="m-1",
        id="17",
        full_name="ada/blog",
        secret=KEY,
        wrong="whsec_" + base64.b64encode(b"another" * 4).decode(),
        pings=(({}, {"type": "ping"}),),
        other_events=(({}, {"type": "user.created", "data": {}}),),
        malformed=(
            _standard_webhooks(ref=None),
            _standard_webhooks(revision="main"),
            _standard_webhooks(deleted="false"),
            _standard_webhooks(repository={"id": 17}),
            {"type": "push", "data": []},
            {"type": 7},
        ),
    ),
)
