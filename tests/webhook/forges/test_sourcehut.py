"""SourceHut's webhooks, signed with Ed25519."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from deployctl.errors import ConfigError
from deployctl.webhook.forges import sourcehut
from deployctl.webhook.forges.event import Delivery
from deployctl.webhook.payload import MalformedError
from deployctl.webhook.receive import receive
from deployctl.webhook.request import Request
from tests.support.deliveries import REVISION, webhook_config

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")

# RFC 8032, 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
KEY = base64.b64encode(PUBLIC)
REFS = {
    "push": "d-1",
    "pusher": {"canonical_name": "~ada", "name": "ada"},
    "refs": [
        {"name": "refs/heads/main", "old": None, "new": {"id": REVISION, "message": "Fix\n\nx"}},
        {"name": "refs/tags/v1", "old": None, "new": {"id": REVISION}, "annotated_tag": {}},
        {"name": "refs/heads/old", "old": {"id": REVISION}, "new": None},
    ],
}


def signed(document: Any = REFS, nonce: str = "n-1", **changes: str) -> Delivery:
    """Return a delivery signed with SEED; ``changes`` replace headers afterwards."""
    body = json.dumps(document).encode()
    signature = ed25519.Ed25519PrivateKey.from_private_bytes(SEED).sign(body + nonce.encode())
    headers = {
        "x-webhook-event": "repo:post-update",
        "x-webhook-delivery": "h-1",
        "x-payload-signature": base64.b64encode(signature).decode(),
        "x-payload-nonce": nonce,
    }
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}
    return Delivery({**headers, **renamed}, body, document)


def test_a_delivery_needs_the_name_of_the_repo_in_its_url(tmp_path: Path) -> None:
    body = signed().body
    content = {"content-type": "application/json", "content-length": str(len(body))}
    repo = {"forge": "sourcehut", "full_name": "~ada/blog", "secrets": [KEY.decode()]}
    config = webhook_config(tmp_path / "state", app=repo)
    answers = [
        receive(
            Request("POST", path, {**content, **signed().headers}, io.BytesIO(body)),
            config,
            now=1.0,
            wake=lambda _: None,
        )
        for path in ("", "/app", "/app")
    ]
    assert [answer.result for answer in answers] == ["refused", "queued", "duplicate"]


def test_the_signature_of_the_rfc_verifies() -> None:
    """The message in the RFC is one byte, which here is the nonce of an empty body."""
    headers = {"x-payload-signature": base64.b64encode(SIGNATURE).decode(), "x-payload-nonce": "r"}
    assert sourcehut.verify(Delivery(headers, b"", {}), KEY)
    assert not sourcehut.verify(Delivery(headers, b"r", {}), KEY)


def test_body_and_nonce_are_signed() -> None:
    assert sourcehut.verify(signed(), KEY)
    changed = signed()
    changed.body += b" "
    assert not sourcehut.verify(changed, KEY)
    assert not sourcehut.verify(signed(x_payload_nonce="n-2"), KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"x_payload_nonce": ""},
        {"x_payload_signature": ""},
        {"x_payload_signature": "x"},
        {"x_payload_signature": "\udcff"},
        {"x_payload_signature": base64.b64encode(b"0" * 64).decode()},
        {"x_payload_signature": base64.b64encode(b"0" * 63).decode()},
    ],
)
def test_a_missing_or_wrong_signature_does_not_verify(changes: dict[str, str]) -> None:
    assert not sourcehut.verify(signed(**changes), KEY)


@pytest.mark.parametrize(
    "key", [b"", b"x", b"nobody's secret", base64.b64encode(b"0" * 32), PUBLIC]
)
def test_another_key_does_not_verify(key: bytes) -> None:
    assert not sourcehut.verify(signed(), key)


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigError) as error:
        sourcehut.verify(signed(), KEY)
    assert str(error.value) == (
        "the signatures of SourceHut need the library cryptography: "
        "pip install 'deployctl[sourcehut]'"
    )
    with pytest.raises(ConfigError):
        sourcehut.verify(signed(), b"nobody's secret")


def test_a_push_holds_all_refs_and_no_repository() -> None:
    event = sourcehut.read(signed())
    assert (event.kind, event.name, event.forge_id) == ("push", "repo:post-update", "d-1")
    assert (event.repository_ids, event.full_name, event.actor) == ([], None, "~ada")
    assert [(push.ref, push.revision, push.deleted, push.subject) for push in event.pushes] == [
        ("refs/heads/main", REVISION, False, "Fix"),
        ("refs/tags/v1", REVISION, False, None),
        ("refs/heads/old", None, True, None),
    ]


def test_the_id_in_the_header_is_used_if_the_signed_body_has_none() -> None:
    assert sourcehut.read(signed({"refs": []})).forge_id == "h-1"


def test_another_event_is_not_read_as_a_push() -> None:
    event = sourcehut.read(signed(x_webhook_event="repo:update"))
    assert (event.kind, event.pushes) == ("other", [])
    assert sourcehut.read(Delivery({"x-payload-signature": ""}, b"", {})).kind == "other"


@pytest.mark.parametrize(
    "changes",
    [
        {"refs": {}},
        {"refs": ["refs/heads/main"]},
        {"refs": [{"name": "", "new": {"id": REVISION}}]},
        {"refs": [{"name": 7, "new": None}]},
        {"refs": [{"name": "refs/heads/main", "new": {"id": "main"}}]},
        {"refs": [{"name": "refs/heads/main", "new": REVISION}]},
        {"push": 7},
        {"pusher": "ada"},
    ],
)
def test_a_value_of_the_wrong_type_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        sourcehut.read(signed({**REFS, **changes}))
