"""GitHub: signatures, and how its events are read."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from deployctl.webhook.forges import github, recognise
from deployctl.webhook.forges.event import Delivery, Event
from deployctl.webhook.payload import MalformedError
from tests.support.deliveries import REVISION, SECRET, ZEROS, push, signature

# https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
DOCUMENTED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
# RFC 4231, test case 2
RFC_4231 = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def signed(body: bytes, header: str | None) -> Delivery:
    """Return a delivery with this signature header; None: without one."""
    return Delivery({} if header is None else {"x-hub-signature-256": header}, body, {})


def read(document: dict[str, Any], event: str = "push", forge_id: str = "d-1") -> Event:
    headers = {"x-github-event": event, "x-github-delivery": forge_id}
    return github.read(Delivery(headers, b"", document))


@pytest.mark.parametrize(
    ("secret", "body", "header"),
    [
        (SECRET.encode(), b"Hello, World!", DOCUMENTED),
        (b"Jefe", b"what do ya want for nothing?", RFC_4231),
        ("gehe\u00edm".encode(), b"\xff\x00", signature(b"\xff\x00", "gehe\u00edm")),
    ],
)
def test_known_signatures_verify(secret: bytes, body: bytes, header: str) -> None:
    assert github.verify(signed(body, header), secret)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        DOCUMENTED.upper(),
        DOCUMENTED.removeprefix("sha256="),
        DOCUMENTED.replace("sha256=", "sha1="),
        DOCUMENTED + " ",
        " " + DOCUMENTED,
        DOCUMENTED[:-1],
        DOCUMENTED[:-1] + "\u0663",
        "sha256=\udcff",
    ],
)
def test_only_the_exact_signature_verifies(header: str | None) -> None:
    assert not github.verify(signed(b"Hello, World!", header), SECRET.encode())


def test_another_body_or_secret_does_not_verify() -> None:
    assert not github.verify(signed(b"Hello World!", DOCUMENTED), SECRET.encode())
    assert not github.verify(signed(b"Hello, World!", DOCUMENTED), b"another")


def test_an_empty_secret_never_verifies() -> None:
    header = "sha256=" + hmac.new(b"", b"{}", hashlib.sha256).hexdigest()
    assert not github.verify(signed(b"{}", header), b"")


def test_a_signature_with_sha1_does_not_verify() -> None:
    header = "sha1=" + hmac.new(SECRET.encode(), b"{}", hashlib.sha1).hexdigest()
    assert not github.verify(Delivery({"x-hub-signature": header}, b"{}", {}), SECRET.encode())


def test_github_is_recognised_by_its_event_header() -> None:
    assert recognise({"x-github-event": "push"}, {}) == "github"
    assert recognise({"content-type": "application/json"}, {}) is None


def test_a_push_is_read_with_its_ref_repository_and_actor() -> None:
    event = read(push())
    assert (event.kind, event.name, event.forge_id) == ("push", "push", "d-1")
    assert (event.repository_ids, event.full_name) == (["1296269"], "octo/Hello-World")
    (pushed,) = event.pushes
    assert (pushed.ref, pushed.revision, pushed.deleted) == ("refs/heads/main", REVISION, False)
    assert (event.actor, pushed.subject) == ("octocat", "Fix all the bugs")


@pytest.mark.parametrize(
    "changes", [{"deleted": True}, {"after": ZEROS}, {"after": "0" * 64}, {"head_commit": None}]
)
def test_a_deletion_is_recognised_by_its_flag_or_by_zeros(changes: dict[str, Any]) -> None:
    assert read(push(**changes)).pushes[0].deleted is ("head_commit" not in changes)


def test_the_sender_is_the_actor_if_the_pusher_has_no_name() -> None:
    assert read(push(pusher=None, sender={"login": "hubot"})).actor == "hubot"
    assert read(push(pusher=None)).actor == ""


def test_names_are_cut_and_lose_control_characters() -> None:
    event = read(push(pusher={"name": "a\nb\x1b" + "c" * 200}), forge_id="\x00d\n" * 3)
    assert event.actor == "ab" + "c" * 98
    assert event.forge_id == "ddd"


def test_a_ping_needs_no_repository() -> None:
    event = read({"zen": "Design for failure.", "hook_id": 1}, "ping")
    assert (event.kind, event.repository_ids, event.full_name) == ("ping", [], None)


def test_another_event_with_a_ref_is_not_a_push() -> None:
    event = read({"ref": "main", "ref_type": "branch"}, "create")
    assert (event.kind, event.name, event.pushes) == ("other", "create", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": None},
        {"ref": ""},
        {"ref": 7},
        {"after": None},
        {"after": REVISION[:-1]},
        {"after": REVISION.upper()},
        {"after": REVISION + "\n"},
        {"after": ["a"] * 40},
        {"deleted": "false"},
        {"repository": []},
        {"repository": {"id": "1296269"}},
        {"repository": {"id": True}},
        {"repository": {"full_name": {}}},
        {"pusher": "octocat"},
        {"pusher": {"name": ["octocat"]}},
        {"head_commit": []},
        {"head_commit": {"message": 7}},
    ],
    ids=json.dumps,
)
def test_a_value_of_the_wrong_type_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        read(push(**changes))
