"""Published test vectors for signatures, and rules that hold for one forge only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote_plus

import pytest

from deployctl.webhook.forges import (
    azure_devops,
    bitbucket,
    bitbucket_server,
    coding,
    forgejo,
    gitea,
    gitee,
    github,
    gitlab,
    gogs,
    load_forge,
    standard_webhooks,
)
from deployctl.webhook.forges.event import Delivery
from deployctl.webhook.payload import form_payload
from tests.support.deliveries import REVISION, ZEROS
from tests.support.forges import (
    FORGES,
    KEY,
    NOW,
    SECRET,
    UUID,
    Forge,
    azure,
    azure_update,
    cloud_change,
    server_change,
    standard,
)

BY_NAME = {forge.name: forge for forge in FORGES}
JEFE = b"what do ya want for nothing?"
# RFC 4231, test case 2, and RFC 2202, test case 2, which is the same with SHA-1
JEFE_256 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
JEFE_1 = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
# https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Secure-webhooks
BITBUCKET = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
# A real delivery, from the tests of https://github.com/drone/go-scm
GITEE = "OyjGt7PDU9xXl5khawx5APOUmODD+SaulKYnS/Nifew="
# From the tests of the libraries in https://github.com/standard-webhooks/standard-webhooks
STANDARD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def delivery(headers: dict[str, str], body: bytes = b"{}", now: float = NOW) -> Delivery:
    return Delivery(headers, body, {}, received_at=now)


@pytest.mark.parametrize(
    ("forge", "header", "value", "body", "secret"),
    [
        (bitbucket, "x-hub-signature", BITBUCKET, b"Hello World!", SECRET),
        (bitbucket_server, "x-hub-signature", BITBUCKET, b"Hello World!", SECRET),
        (bitbucket_server, "x-hub-signature", f"sha256={JEFE_256}", JEFE, "Jefe"),
        (gitea, "x-gitea-signature", JEFE_256, JEFE, "Jefe"),
        (forgejo, "x-forgejo-signature", JEFE_256, JEFE, "Jefe"),
        (gogs, "x-gogs-signature", JEFE_256, JEFE, "Jefe"),
        (coding, "x-coding-signature", f"sha1={JEFE_1}", JEFE, "Jefe"),
    ],
)
def test_published_signatures_verify(
    forge: Any, header: str, value: str, body: bytes, secret: str
) -> None:
    assert forge.verify(delivery({header: value}, body), secret.encode())
    assert not forge.verify(delivery({header: value}, body + b" "), secret.encode())


def test_a_signature_of_gitea_is_the_digest_in_lower_case_without_a_prefix() -> None:
    for value in ("", "sha256=", f"sha256={JEFE_256}", JEFE_256.upper()):
        assert not gitea.verify(delivery({"x-gitea-signature": value}, JEFE), b"Jefe")


def test_a_signature_in_a_header_of_another_forge_does_not_count() -> None:
    """Gitea sends the headers of other forges too; without a secret all of them are empty."""
    sent = delivery({"x-gitea-signature": "", "x-hub-signature-256": f"sha256={JEFE_256}"}, JEFE)
    assert not gitea.verify(sent, b"Jefe")
    assert not bitbucket.verify(delivery({"x-hub-signature": f"sha1={JEFE_1}"}, JEFE), b"Jefe")


@pytest.mark.parametrize("name", ["gitea", "forgejo", "gogs"])
def test_the_signature_of_a_form_is_that_of_the_json_in_it(name: str) -> None:
    forge = BY_NAME[name]
    payload = json.dumps({"message": "a&b=c + \u00fc"}, ensure_ascii=False).encode()
    body = b"payload=" + quote_plus(payload).encode()
    headers = forge.prove(payload, SECRET)
    sent = Delivery(headers, body, {}, payload=form_payload(body))
    assert load_forge(name).verify(sent, SECRET.encode())
    sent = Delivery(forge.prove(body, SECRET), body, {}, payload=form_payload(body))
    assert not load_forge(name).verify(sent, SECRET.encode())


# ---- Standard Webhooks, and GitLab's signing tokens -----------------------------------------


def published(now: float = 1614265330, **changes: str) -> Delivery:
    """Return the delivery with the published signature; ``changes`` replace headers."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": STANDARD,
    }
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}
    return delivery({**headers, **renamed}, b'{"test": 2432232314}', now)


@pytest.mark.parametrize("forge", [standard_webhooks, gitlab])
def test_the_published_signature_verifies(forge: Any) -> None:
    assert forge.verify(published(), KEY.encode())
    assert not forge.verify(published(webhook_id="other"), KEY.encode())


@pytest.mark.parametrize(("seconds", "valid"), [(0, True), (300, True), (301, False), (9e9, False)])
def test_a_time_stamp_is_valid_for_five_minutes_before_and_after(
    seconds: float, valid: bool
) -> None:
    for now in (1614265330 - seconds, 1614265330 + seconds):
        assert standard_webhooks.verify(published(now), KEY.encode()) is valid


@pytest.mark.parametrize("stamp", ["", "-1", "1e9", "1614265330.0", " 1614265330", "\u0661", "nan"])
def test_a_time_stamp_that_is_not_whole_seconds_is_invalid(stamp: str) -> None:
    sent = delivery(standard(b"{}", KEY) | {"webhook-timestamp": stamp}, now=1614265330)
    assert not standard_webhooks.verify(sent, KEY.encode())


def test_one_of_several_signatures_must_fit() -> None:
    other = "v1," + base64.b64encode(b"0" * 32).decode()
    for signatures in (f"{other} {STANDARD}", f"{STANDARD} v1a,xyz {other}", f"v2,x  {STANDARD}"):
        assert standard_webhooks.verify(published(webhook_signature=signatures), KEY.encode())
    for signatures in (other, STANDARD.replace("v1,", "v1a,"), STANDARD[3:], STANDARD + other):
        assert not standard_webhooks.verify(published(webhook_signature=signatures), KEY.encode())


@pytest.mark.parametrize("key", [KEY[6:], "whsec_", "whsec_!", "whsec_a", "whsec", "", "literal"])
def test_a_key_must_be_base64_after_its_prefix(key: str) -> None:
    digest = hmac.digest(key.encode(), b"m-1.1700000000.{}", "sha256")
    headers = standard(b"{}", KEY)
    headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    assert not standard_webhooks.verify(delivery(headers), key.encode())


def test_a_signing_token_of_gitlab_is_never_accepted_as_a_plain_token() -> None:
    assert not gitlab.verify(delivery({"x-gitlab-token": KEY}), KEY.encode())
    assert not gitlab.verify(delivery({"x-gitlab-token": "whsec_"}), b"whsec_")
    both = {**standard(b"{}", KEY), "x-gitlab-token": KEY, "webhook-signature": "v1,x"}
    assert not gitlab.verify(delivery(both), KEY.encode())


def test_a_plain_token_of_gitlab_needs_no_signature() -> None:
    headers = {**standard(b"{}", KEY), "x-gitlab-token": SECRET}
    assert gitlab.verify(delivery(headers), SECRET.encode())
    assert not gitlab.verify(delivery(standard(b"{}", KEY)), SECRET.encode())


def test_the_kind_of_a_system_hook_of_gitlab_is_read_from_its_body() -> None:
    push = {**BY_NAME["gitlab"].push, "event_name": "push"}
    push.pop("object_kind")
    for document, kind in ((push, "push"), ({"event_name": "project_create"}, "other")):
        sent = Delivery({"x-gitlab-event": "System Hook"}, b"", document)
        assert (gitlab.read(sent).kind, gitlab.read(sent).name) == (
            kind,
            "System Hook",
        )


def test_an_annotated_tag_of_gitlab_is_read_as_its_commit() -> None:
    document = {**BY_NAME["gitlab"].tag, "after": "b" * 40}
    (pushed,) = gitlab.read(Delivery({"x-gitlab-event": "Tag Push Hook"}, b"", document)).pushes
    assert (pushed.revision, pushed.subject) == (REVISION, "Fix all the bugs")


def test_an_annotated_tag_of_github_is_read_as_its_commit() -> None:
    commit = {"id": REVISION, "message": "Fix all the bugs"}
    document = {**BY_NAME["github"].tag, "after": "b" * 40, "head_commit": commit}
    (pushed,) = github.read(Delivery({"x-github-event": "push"}, b"", document)).pushes
    assert (pushed.revision, pushed.subject) == (REVISION, "Fix all the bugs")


# ---- Gitee ----------------------------------------------------------------------------------


def test_a_real_delivery_of_gitee_verifies() -> None:
    secret = b"bBg5lrt03VixkX85CNqYIcecC0SIGASE"
    headers = {"x-gitee-timestamp": "1633686799688", "x-gitee-token": GITEE}
    assert gitee.verify(delivery(headers, now=1633686799), secret)
    assert not gitee.verify(delivery({**headers, "x-gitee-timestamp": "1633686799689"}), secret)


@pytest.mark.parametrize(("seconds", "valid"), [(0, True), (3600, True), (3601, False)])
def test_a_signature_of_gitee_is_valid_for_an_hour_before_and_after(
    seconds: float, valid: bool
) -> None:
    for now in (1_700_000_000 - seconds, 1_700_000_000 + seconds):
        sent = BY_NAME["gitee"].delivery(now=now)
        assert gitee.verify(sent, SECRET.encode()) is valid
        assert (gitee.read(sent).single_use is not None) is valid


def test_a_signature_of_gitee_is_single_use_until_it_expires() -> None:
    single_use = gitee.read(BY_NAME["gitee"].delivery()).single_use
    assert single_use is not None
    assert single_use[1] == 1_700_003_600.0
    other = {"x-gitee-timestamp": "1700000000001"}
    assert gitee.read(BY_NAME["gitee"].delivery(changes=other)).single_use != single_use


@pytest.mark.parametrize("stamp", ["", "1.7e12", "-1", "\u0661" * 13, "9" * 400])
def test_a_time_stamp_of_gitee_that_is_not_whole_milliseconds_is_invalid(stamp: str) -> None:
    digest = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    headers = {"x-gitee-timestamp": stamp, "x-gitee-token": base64.b64encode(digest).decode()}
    assert not gitee.verify(delivery(headers), SECRET.encode())


def test_gitee_may_send_the_password_as_it_is() -> None:
    sent = delivery({"x-gitee-token": "pass", "x-gitee-timestamp": "1"})
    assert gitee.verify(sent, b"pass")
    assert not gitee.verify(sent, b"word")


# ---- Azure DevOps ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "valid"),
    [
        ("Basic " + base64.b64encode(b"ada:pass").decode(), True),
        ("basic " + base64.b64encode(b":pass").decode(), True),
        ("Basic " + base64.b64encode(b"ada:x:pass").decode(), False),
        ("Basic " + base64.b64encode(b"pass").decode(), False),
        ("Basic " + base64.b64encode(b"pass:").decode(), False),
        ("Basic", False),
        ("Basic ===", False),
        ("Bearer " + base64.b64encode(b"ada:pass").decode(), False),
        ("ada:pass", False),
    ],
)
def test_the_password_of_basic_authentication_is_the_secret(header: str, valid: bool) -> None:
    assert azure_devops.verify(delivery({"authorization": header}), b"pass") is valid


# ---- several refs in one delivery -----------------------------------------------------------


def refs(forge: Forge, changes: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Return refs and revisions as read from a push with these changes in its JSON."""
    document: Any = json.loads(json.dumps(forge.push))
    if forge.name == "bitbucket":
        document["push"]["changes"] = changes
    elif forge.name == "bitbucket-server":
        document["changes"] = changes
    else:
        document["resource"]["refUpdates"] = changes
    event = load_forge(forge.name).read(forge.delivery(document))
    assert event.kind == "push"
    return [(push.ref, push.revision) for push in event.pushes]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (
            "bitbucket",
            [
                cloud_change("branch", "main"),
                cloud_change("tag", "v1"),
                cloud_change("named_branch", "old", deleted=True),
            ],
        ),
        (
            "bitbucket-server",
            [
                server_change("refs/heads/main"),
                server_change("refs/tags/v1", "ADD"),
                server_change("refs/heads/old", "DELETE", ZEROS),
            ],
        ),
        (
            "azure-devops",
            [
                azure_update("refs/heads/main"),
                azure_update("refs/tags/v1"),
                azure_update("refs/heads/old", ZEROS),
            ],
        ),
    ],
)
def test_one_delivery_may_hold_several_refs_or_none(
    name: str, changes: list[dict[str, Any]]
) -> None:
    assert refs(BY_NAME[name], changes) == [
        ("refs/heads/main", REVISION),
        ("refs/tags/v1", REVISION),
        ("refs/heads/old", None),
    ]
    assert refs(BY_NAME[name], []) == []


def test_a_report_of_a_mirror_of_bitbucket_server_is_read_as_a_push() -> None:
    forge = BY_NAME["bitbucket-server"]
    sent = forge.delivery(changes={"x-event-key": "mirror:repo_synchronized"})
    assert [push.ref for push in load_forge(forge.name).read(sent).pushes] == ["refs/heads/main"]


def test_a_repository_id_of_azure_devops_is_read_unchanged() -> None:
    sent = BY_NAME["azure-devops"].delivery(azure())
    assert azure_devops.read(sent).repository_ids == [UUID.upper()]
