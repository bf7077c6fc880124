"""Deliveries as each forge sends them: documents, headers and proofs."""

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
Prove = Callable[[bytes, str], dict[str, str]]


@dataclass(frozen=True)
class Forge:
    """A forge and a repository there; ``main`` was pushed to REVISION by ``ada``.

    ``prove`` makes the headers that prove a secret for a body. ``id`` is what repos.yml would
    say, ``number`` the delivery's id. Of ``types`` each is a document that no forge sends.
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
    others: tuple[tuple[Mapping[str, str], Document], ...] = ()
    types: tuple[Document, ...] = ()

    def delivery(
        self,
        document: Document | None = None,
        *,
        changes: Mapping[str, str] | None = None,
        secret: str | None = None,
        now: float = NOW,
    ) -> Delivery:
        """A delivery with a good proof; ``changes`` are made to its headers."""
        body = json.dumps(self.push if document is None else document).encode()
        proof = self.prove(body, self.secret if secret is None else secret)
        headers = {**self.headers, **proof, **(changes or {})}
        return Delivery(headers, body, json.loads(body), received_at=now)

    def request(self, path: str = "/app", **about: Any) -> Request:
        """The same as a request."""
        made = self.delivery(**about)
        length = {"content-type": "application/json", "content-length": str(len(made.body))}
        return Request("POST", path, {**length, **made.headers}, io.BytesIO(made.body))


def hexadecimal(header: str, prefix: str = "", algorithm: str = "sha256") -> Prove:
    def prove(body: bytes, secret: str) -> dict[str, str]:
        return {header: prefix + hmac.new(secret.encode(), body, algorithm).hexdigest()}

    return prove


def token(header: str) -> Prove:
    return lambda _body, secret: {header: secret}


def basic(_body: bytes, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"ada:{secret}".encode()).decode()}


def gitee(_body: bytes, secret: str, stamp: str = "1700000000000") -> dict[str, str]:
    digest = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()
    return {"x-gitee-timestamp": stamp, "x-gitee-token": base64.b64encode(digest).decode()}


def standard(
    body: bytes, secret: str, stamp: int = int(NOW), number: str = "m-1"
) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{number}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": number,
        "webhook-timestamp": str(stamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def altered(document: Document, *path: str | int, to: Any) -> Document:
    """A copy with another value at one place."""
    copy: Any = json.loads(json.dumps(document))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
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


def _cloud(*changes: Document) -> Document:
    return {
        "actor": {"display_name": "Ada Lovelace", "nickname": "ada"},
        "repository": {"uuid": "{" + UUID.upper() + "}", "full_name": "ada/blog"},
        "push": {"changes": [*changes]},
    }


def cloud_change(kind: str, name: str, *, deleted: bool = False) -> Document:
    """One ref of a push to Bitbucket Cloud."""
    found = {"type": kind, "name": name, "target": {"hash": REVISION, "message": MESSAGE}}
    return {"old": found, "new": None} if deleted else {"old": None, "new": found}


def _server(*changes: Document) -> Document:
    repository = {"id": 17, "slug": "blog", "project": {"key": "ADA"}}
    return {"actor": {"name": "ada"}, "repository": repository, "changes": [*changes]}


def server_change(ref: str, kind: str = "UPDATE", to: str = REVISION) -> Document:
    """One ref of a push to Bitbucket Server."""
    return {"ref": {"id": ref}, "type": kind, "fromHash": BEFORE, "toHash": to}


def azure(*updates: Document, number: str = "e-1", kind: str = "git.push") -> Document:
    """An event of Azure DevOps."""
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
    return {"name": ref, "oldObjectId": BEFORE, "newObjectId": to}


def _standard(**data: Any) -> Document:
    repository = {"id": "17", "full_name": "ada/blog"}
    known = {"ref": "refs/heads/main", "revision": REVISION, "actor": "ada", "message": MESSAGE}
    return {"type": "push", "data": {**known, "repository": repository, **data}}


MESSAGE = "Fix all the bugs\n\nAt last."
TAG = "refs/tags/v1.0"
LIKE_GITHUB: Document = {
    "push": _like_github(),
    "tag": _like_github(ref=TAG),
    "deletion": _like_github(after=ZEROS),
    "id": "17",
    "full_name": "ada/blog",
    "types": (
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
_TESTS: tuple[tuple[Mapping[str, str], Document], ...] = tuple(
    ({}, _like_github(before=same, after=same)) for same in (REVISION, ZEROS)
)
LIKE_GITLAB: Document = {
    "push": _like_gitlab(),
    "tag": _like_gitlab(object_kind="tag_push", ref=TAG, checkout_sha=REVISION),
    "deletion": _like_gitlab(after=ZEROS, checkout_sha=None),
    "id": "17",
    "pings": (({}, _like_gitlab(before=REVISION)),),
    "types": (
        *(_like_gitlab(**{name: 7}) for name in ("ref", "after", "checkout_sha", "user_name")),
        _like_gitlab(project_id="17"),
        _like_gitlab(commits={}),
        _like_gitlab(ref=""),
    ),
}


def _gitea_family(name: str, prefix: str, *also: str) -> Forge:
    """Every one sends the headers of its ancestors too."""
    headers: dict[str, str] = {}
    for one in (prefix, *also):
        headers |= {f"{one}-event": "push", f"{one}-delivery": "d-1", f"{one}-signature": "0" * 64}
    event = f"{prefix}-event"
    return Forge(
        name,
        {**headers, "x-github-event": "push", "x-github-delivery": "d-2"},
        hexadecimal(f"{prefix}-signature"),
        number="d-1",
        pings=_TESTS,
        others=(
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
        others=(({"x-github-event": "delete"}, {"ref": "main"}),),
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
        others=(({"x-gitlab-event": "Pipeline Hook"}, {"object_kind": "pipeline", "ref": "main"}),),
        **{
            **LIKE_GITLAB,
            "push": _like_gitlab(project={"path_with_namespace": "ada/group/blog"}),
        },
    ),
    Forge(
        "bitbucket",
        {"x-event-key": "repo:push", "x-request-uuid": "d-1", "x-hook-uuid": "h-1"},
        hexadecimal("x-hub-signature", "sha256="),
        push=_cloud(cloud_change("branch", "main")),
        tag=_cloud(cloud_change("tag", "v1.0")),
        deletion=_cloud(cloud_change("branch", "main", deleted=True)),
        number="d-1",
        id="{" + UUID + "}",
        full_name="ada/blog",
        others=(({"x-event-key": "repo:fork"}, {}),),
        types=(
            altered(_cloud(), "repository", "uuid", to=17),
            altered(_cloud(), "push", to=[]),
            altered(_cloud(), "push", "changes", to={}),
            _cloud({"old": None, "new": None}),
            _cloud({"old": None, "new": []}),
            altered(
                _cloud(cloud_change("branch", "main")),
                *("push", "changes", 0, "new", "target", "hash"),
                to="main",
            ),
            altered(_cloud(), "actor", to="ada"),
        ),
    ),
    Forge(
        "bitbucket-server",
        {"x-event-key": "repo:refs_changed", "x-request-id": "d-1"},
        hexadecimal("x-hub-signature", "sha256="),
        push=_server(server_change("refs/heads/main")),
        tag=_server(server_change(TAG, "ADD")),
        deletion=_server(server_change("refs/heads/main", "DELETE", ZEROS)),
        number="d-1",
        id="17",
        full_name="ADA/blog",
        subject=None,
        pings=(({"x-event-key": "diagnostics:ping"}, {"test": True}),),
        others=(({"x-event-key": "pr:opened"}, {}),),
        types=(
            altered(_server(), "repository", "id", to="17"),
            altered(_server(), "changes", to={}),
            _server({"ref": "refs/heads/main"}),
            _server(server_change("refs/heads/main", to="main")),
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
        others=(({"x-gitee-event": "Issue Hook"}, {}),),
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
        others=(({"codeup-event": "Note Hook"}, {"object_kind": "note"}),),
        **LIKE_GITLAB,
    ),
    Forge(
        "coding",
        {"x-coding-event": "push", "x-coding-delivery": "d-1"},
        hexadecimal("x-coding-signature", "sha1=", "sha1"),
        number="d-1",
        pings=(({"x-coding-event": "ping"}, {"token": SECRET, "zen": "Coding!"}),),
        others=(({"x-coding-event": "topic"}, {}),),
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
        others=(({}, azure(kind="git.pullrequest.created")),),
        types=(
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
        push=_standard(),
        tag=_standard(ref=TAG),
        deletion=_standard(deleted=True, revision=None),
        number="m-1",
        id="17",
        full_name="ada/blog",
        secret=KEY,
        wrong="whsec_" + base64.b64encode(b"another" * 4).decode(),
        pings=(({}, {"type": "ping"}),),
        others=(({}, {"type": "user.created", "data": {}}),),
        types=(
            _standard(ref=None),
            _standard(revision="main"),
            _standard(deleted="false"),
            _standard(repository={"id": 17}),
            {"type": "push", "data": []},
            {"type": 7},
        ),
    ),
)
