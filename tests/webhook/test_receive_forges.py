"""Deliveries of every forge, from the request to the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.store.database import Database
from deployctl.webhook.receive import Answer, receive
from deployctl.webhook.request import Request
from tests.support.deliveries import REVISION, webhook_config
from tests.support.forges import (
    FORGES,
    KEY,
    NOW,
    SECRET,
    TAG,
    Forge,
    azure_update,
    cloud_change,
    gitee,
    standard,
)

BY_NAME = {forge.name: forge for forge in FORGES}
GITEE = BY_NAME["gitee"]
PROOF_OF_GITHUB = "github, x-hub-signature-256"
each_forge = pytest.mark.parametrize("forge", FORGES, ids=lambda forge: forge.name)


class Inbox:
    """The record, with receive() for one repo, ``app``, or for several."""

    def __init__(self, state_dir: Path) -> None:
        self.db = Database(str(state_dir))

    def post(self, request: Request, now: float = NOW, **repo: Any) -> Answer:
        """Post a delivery; ``repo`` has the keys of ``app``, or repos by name if one is ``app``."""
        repos = {"app": repo} if "app" not in repo else repo
        config = webhook_config(self.db.state_dir, **repos)
        return receive(request, config, now=now, wake=lambda _: None)

    def rows(self, columns: str, table: str = "deliveries") -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.db.connection.execute(f"SELECT {columns} FROM {table}")]


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    opened = Inbox(tmp_path / "state")
    yield opened
    opened.db.close()


def follow(sender: Forge, /, **more: Any) -> dict[str, Any]:
    """Return the keys of a repo that follows the repository of a forge by its id."""
    return {"forge": sender.name, "id": sender.id, "secrets": [sender.secret], **more}


# ---- every forge ----------------------------------------------------------------------------


@each_forge
def test_a_push_is_queued_for_the_repo_with_its_id(inbox: Inbox, forge: Forge) -> None:
    answer = inbox.post(forge.request(""), **follow(forge))
    assert (answer.status, answer.result, answer.deployment) == (202, "queued", 1)
    assert answer.reason == f"refs/heads/main is at {REVISION} now"
    assert inbox.rows("forge, forge_id, repo, result") == [
        (forge.name, forge.number, "app", "queued")
    ]
    assert inbox.rows("ref, wanted_revision, actor, subject", "deployments") == [
        ("refs/heads/main", None, "ada", forge.subject)
    ]


@each_forge
def test_a_push_is_queued_for_the_repo_in_the_url_without_a_named_forge(
    inbox: Inbox, forge: Forge
) -> None:
    answer = inbox.post(forge.request("/app"), **follow(forge, forge=None, id=None))
    assert answer.result == "queued"


@pytest.mark.parametrize("forge", [forge for forge in FORGES if forge.full_name])
def test_a_repo_is_found_by_its_full_name(inbox: Inbox, forge: Forge) -> None:
    name = str(forge.full_name).swapcase()
    assert inbox.post(forge.request(""), **follow(forge, id=None, full_name=name)).status == 202


@each_forge
def test_a_push_to_a_repository_with_another_id_is_refused(inbox: Inbox, forge: Forge) -> None:
    assert inbox.post(forge.request(""), **follow(forge, id="7")).status == 401


@each_forge
def test_the_secret_of_another_repo_is_refused(inbox: Inbox, forge: Forge) -> None:
    repos: dict[str, Any] = {
        "app": follow(forge),
        "other": follow(forge, id="7", secrets=[forge.wrong]),
    }
    assert inbox.post(forge.request("", secret=forge.wrong), **repos).status == 401
    assert inbox.post(forge.request("/app", secret=forge.wrong), **repos).status == 401
    rows = inbox.rows("repo, result, reason")
    assert [row[:2] for row in rows] == [("app", "refused")] * 2
    assert all("does not fit webhook_secret of app: " in reason for *_, reason in rows)


@each_forge
def test_a_delivery_may_be_signed_with_any_of_two_secrets(inbox: Inbox, forge: Forge) -> None:
    repo = follow(forge, secrets=[forge.wrong, forge.secret])
    assert inbox.post(forge.request(), **repo).result == "queued"
    assert inbox.post(forge.request(secret=forge.wrong), **repo).status < 300 or forge is GITEE


@each_forge
def test_a_delivery_of_another_forge_than_the_configured_one_is_refused(
    inbox: Inbox, forge: Forge
) -> None:
    other = "github" if forge.name != "github" else "gitea"
    assert inbox.post(forge.request(), **follow(forge, forge=other)).status == 401
    ((reason,),) = inbox.rows("reason")
    if other == "github" and forge.name in ("gitea", "forgejo", "gogs"):  # they send its headers
        assert reason == f"there is no proof of a secret: set one at the forge ({PROOF_OF_GITHUB})"
    else:
        assert reason == f"app is a repo of {other}, and this comes from {forge.name}"


@each_forge
def test_a_deletion_is_ignored(inbox: Inbox, forge: Forge) -> None:
    answer = inbox.post(forge.request(document=forge.deletion), **follow(forge))
    assert (answer.result, answer.reason) == ("ignored", "refs/heads/main was deleted")


@pytest.mark.parametrize("forge", [forge for forge in FORGES if forge.pings])
def test_a_test_delivery_is_answered_pong(inbox: Inbox, forge: Forge) -> None:
    changes, document = forge.pings[0]
    request = forge.request("/app", document=document, changes=changes)
    answer = inbox.post(request, **follow(forge))
    assert (answer.status, answer.result) == (200, "pong")


@each_forge
def test_a_redelivery_is_a_duplicate(inbox: Inbox, forge: Forge) -> None:
    inbox.post(forge.request(), **follow(forge))
    # Gitee sends no id, and makes a new signature for a redelivery.
    proof = gitee(b"", SECRET, "1700000000001") if forge is GITEE else {}
    second = inbox.post(forge.request(changes=proof), **follow(forge))
    assert (second.status, second.result, second.deployment) == (200, "duplicate", 1)


# ---- several refs, and tags -----------------------------------------------------------------


def push_of_refs(*updates: tuple[str, str]) -> Request:
    """Return a push of several refs: pairs of ref and new revision."""
    forge = BY_NAME["azure-devops"]
    document: Any = json.loads(json.dumps(forge.push))
    document["resource"]["refUpdates"] = [azure_update(*update) for update in updates]
    return forge.request(document=document)


@pytest.mark.parametrize(
    ("updates", "result", "reason"),
    [
        (
            [("refs/heads/dev", REVISION), ("refs/heads/main", REVISION), (TAG, REVISION)],
            "queued",
            f"refs/heads/main is at {REVISION} now",
        ),
        (
            [("refs/heads/dev", REVISION), (TAG, REVISION)],
            "ignored",
            "refs/heads/dev is not deployed here, nor is any of 1 more",
        ),
        (
            [("refs/heads/main", "0" * 40), ("refs/heads/dev", REVISION), (TAG, REVISION)],
            "ignored",
            "refs/heads/main was deleted, nor is any of 2 more",
        ),
        ([], "ignored", "the push moved no ref"),
    ],
)
def test_of_several_refs_the_one_that_the_repo_follows_counts(
    inbox: Inbox, updates: list[tuple[str, str]], result: str, reason: str
) -> None:
    answer = inbox.post(push_of_refs(*updates), **follow(BY_NAME["azure-devops"]))
    assert (answer.result, answer.reason) == (result, reason)


@each_forge
def test_a_tag_is_queued_if_the_repo_deploys_tags(inbox: Inbox, forge: Forge) -> None:
    def request() -> Request:
        return forge.request(document=forge.tag, changes=forge.tag_headers)

    assert inbox.post(request(), **follow(forge, tags="v*")).result == "queued"
    assert inbox.rows("ref, wanted_revision", "deployments") == [(TAG, None)]


@pytest.mark.parametrize(
    ("ref", "matches"),
    [
        ("refs/tags/v1.0", True),
        ("refs/tags/v10", True),
        ("refs/tags/v1/final", True),
        ("refs/tags/V1", False),
        ("refs/tags/version", False),
        ("refs/tags/refs/tags/v1", False),
        ("refs/heads/v1", False),
        ("refs/heads/main", False),
        ("v1", False),
        ("refs/tags/v1:refs/heads/main", False),
        ("refs/tags/v1*", False),
        ("refs/tags/v1..2", False),
        ("refs/tags/v1\n", False),
        ("refs/tags/v1" + "0" * 300, False),
    ],
)
def test_a_tag_is_queued_if_its_name_matches_the_pattern(
    inbox: Inbox, ref: str, matches: bool
) -> None:
    forge = BY_NAME["github"]
    request = forge.request(document={**forge.push, "ref": ref})
    answer = inbox.post(request, **follow(forge, tags="v[0-9]*"))
    assert answer.result == ("queued" if matches else "ignored")


def test_of_several_tags_the_last_is_deployed(inbox: Inbox) -> None:
    request = push_of_refs(
        ("refs/tags/v1", REVISION), ("refs/tags/v2", REVISION), ("refs/heads/x", "0" * 40)
    )
    inbox.post(request, **follow(BY_NAME["azure-devops"], tags="*"))
    assert inbox.rows("ref", "deployments") == [("refs/tags/v2",)]


def test_a_push_without_a_revision_is_queued_too(inbox: Inbox) -> None:
    forge = BY_NAME["standard-webhooks"]
    document = {"type": "push", "data": {"ref": "refs/heads/main"}}
    answer = inbox.post(forge.request("/app", document=document), **follow(forge))
    assert (answer.status, answer.reason) == (202, "refs/heads/main was pushed")
    assert inbox.rows("actor", "deployments") == [("standard-webhooks",)]


# ---- time and single use --------------------------------------------------------------------


def test_a_signature_of_gitee_is_refused_the_second_time(inbox: Inbox) -> None:
    assert inbox.post(GITEE.request(), **follow(GITEE)).result == "queued"
    other = {**GITEE.push, "ref": "refs/heads/dev"}
    for request in (GITEE.request(), GITEE.request(document=other)):
        answer = inbox.post(request, **follow(GITEE))
        assert (answer.status, answer.result, answer.delivery) == (401, "refused", None)
        assert answer.reason == "unknown repository, or credential missing or wrong"
    assert inbox.rows("result, reason")[1:] == [("refused", "its proof was used before")] * 2
    assert inbox.rows("count(*)", "deployments") == [(1,)]


def test_a_signature_of_gitee_is_used_up_by_an_ignored_delivery_too(inbox: Inbox) -> None:
    ignored = GITEE.request(document={**GITEE.push, "ref": "refs/heads/dev"})
    assert inbox.post(ignored, **follow(GITEE)).result == "ignored"
    assert inbox.post(GITEE.request(), **follow(GITEE)).status == 401


def test_a_signature_of_gitee_is_not_used_up_by_a_refused_delivery(inbox: Inbox) -> None:
    assert inbox.post(GITEE.request(), **follow(GITEE, secrets=["another"])).status == 401
    assert inbox.post(GITEE.request(), **follow(GITEE)).result == "queued"


def test_one_signature_of_gitee_counts_for_every_repo_that_the_delivery_is_for(
    inbox: Inbox,
) -> None:
    repos: dict[str, Any] = {"app": follow(GITEE), "staging": follow(GITEE)}
    assert inbox.post(GITEE.request(""), **repos).result == "queued"
    assert inbox.rows("repo, result") == [("app", "queued"), ("staging", "queued")]
    assert inbox.post(GITEE.request("/staging"), **repos).status == 401


@pytest.mark.parametrize("seconds", [-3602, 3602])
def test_a_signature_of_gitee_with_an_old_or_future_time_stamp_is_refused(
    inbox: Inbox, seconds: int
) -> None:
    assert inbox.post(GITEE.request(), now=NOW + seconds, **follow(GITEE)).status == 401


def test_used_proofs_are_forgotten_when_they_expire(inbox: Inbox) -> None:
    inbox.post(GITEE.request(), **follow(GITEE))
    assert inbox.rows("repo, expires_at", "used_proofs") == [("app", 1_700_003_600.0)]
    later = GITEE.request(changes=gitee(b"", SECRET, "1700007300000"))
    inbox.post(later, now=1_700_007_300.0, **follow(GITEE))
    assert inbox.rows("expires_at", "used_proofs") == [(1_700_010_900.0,)]


def test_a_password_of_gitee_is_accepted_more_than_once_and_not_recorded(inbox: Inbox) -> None:
    """Unlike a signature, a password lets its owner make any delivery, so it is not single-use."""
    password = {"x-gitee-token": SECRET}
    assert inbox.post(GITEE.request(changes=password), **follow(GITEE)).result == "queued"
    assert inbox.post(GITEE.request(changes=password), **follow(GITEE)).result == "duplicate"
    assert inbox.rows("proof", "used_proofs") == []
    assert all(SECRET not in text for row in inbox.rows("headers, facts") for text in row)


def test_an_old_standard_webhook_is_refused_and_a_retry_is_a_duplicate(inbox: Inbox) -> None:
    forge = BY_NAME["standard-webhooks"]
    assert inbox.post(forge.request(), now=NOW + 302, **follow(forge)).status == 401
    assert inbox.post(forge.request(), **follow(forge)).result == "queued"
    body = forge.delivery().body
    retry = forge.request(changes=standard(body, KEY, int(NOW) + 500))
    assert inbox.post(retry, now=NOW + 500, **follow(forge)).result == "duplicate"


# ---- likenesses between forges ------------------------------------------------------------


def test_a_gitlab_with_a_signing_token_must_sign(inbox: Inbox) -> None:
    forge = BY_NAME["gitlab"]
    body = forge.delivery().body
    signed = forge.request(changes=standard(body, KEY, number="d-1"))
    assert inbox.post(forge.request(secret=KEY), **follow(forge, secrets=[KEY])).status == 401
    assert inbox.post(signed, **follow(forge, secrets=[KEY])).result == "queued"


def test_a_delivery_of_codeberg_counts_as_one_of_forgejo(inbox: Inbox) -> None:
    forge = BY_NAME["forgejo"]
    assert "x-gitea-event" in forge.headers
    assert "x-github-event" in forge.headers
    assert inbox.post(forge.request(), **follow(forge)).result == "queued"


@pytest.mark.parametrize("before", ["gitea", "gogs"])
def test_a_server_that_was_moved_to_forgejo_still_deploys(inbox: Inbox, before: str) -> None:
    forge = BY_NAME["forgejo"]
    body = forge.delivery().body
    (proof,) = forge.prove(body, SECRET).values()
    request = forge.request(changes={f"x-{before}-signature": proof})
    assert inbox.post(request, **follow(forge, forge=before)).result == "queued"
    assert inbox.rows("forge") == [(before,)]


def test_a_uuid_may_have_braces_and_capitals_or_not(inbox: Inbox) -> None:
    forge = BY_NAME["bitbucket"]
    plain = str(forge.id).strip("{}")
    for uuid in (plain, plain.upper(), "{" + plain.upper() + "}"):
        assert inbox.post(forge.request(""), **follow(forge, id=uuid)).status < 300


def test_an_empty_push_of_bitbucket_is_ignored(inbox: Inbox) -> None:
    forge = BY_NAME["bitbucket"]
    document: Any = json.loads(json.dumps(forge.push))
    document["push"]["changes"] = []
    answer = inbox.post(forge.request(document=document), **follow(forge))
    assert (answer.result, answer.reason) == ("ignored", "the push moved no ref")
    document["push"]["changes"] = [cloud_change("tag", "main"), cloud_change("branch", "main")]
    assert (
        inbox.post(
            forge.request(document=document, changes={"x-request-uuid": "d-2"}), **follow(forge)
        ).result
        == "queued"
    )
