"""Test deliveries made by deployctl: the module of each forge recognises, verifies, reads them."""

from __future__ import annotations

import json

import pytest

from deployctl.errors import UsageError
from deployctl.webhook import forges
from deployctl.webhook.forges import control, samples
from deployctl.webhook.forges.event import Delivery
from tests.support.deliveries import REVISION
from tests.support.forges import FORGES, KEY, NOW, Forge

SIGNING = [forge for forge in FORGES if forge.name != "sourcehut"]


def sample(forge: Forge, ref: str = "refs/heads/main") -> samples.Sample:
    return samples.Sample(
        ref=ref,
        revision=REVISION,
        delivery_id="d-7",
        now=NOW,
        repository_id=forge.id,
        full_name=forge.full_name,
        actor="ada",
    )


def received(headers: dict[str, str], body: bytes) -> Delivery:
    """Return headers and body as the delivery that arrives."""
    lower = {name.lower(): value for name, value in headers.items()}
    return Delivery(lower, body, json.loads(body), received_at=NOW)


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/heads/feature/x", "refs/tags/v1"])
@pytest.mark.parametrize("forge", SIGNING, ids=lambda forge: forge.name)
def test_a_push_is_recognised_verified_and_read(forge: Forge, ref: str) -> None:
    delivery = received(*samples.signed_push(forge.name, sample(forge, ref), forge.secret.encode()))
    module = forges.load_forge(forge.name)
    assert forges.recognise(delivery.headers, delivery.document) == forge.name
    assert module.verify(delivery, forge.secret.encode())
    assert not module.verify(delivery, forge.wrong.encode())
    event = module.read(delivery)
    assert (event.kind, event.actor) == ("push", "ada")
    assert [(push.ref, push.revision, push.deleted) for push in event.pushes] == [
        (ref, REVISION, False)
    ]
    assert event.full_name == forge.full_name
    assert [repository_id.strip("{}").lower() for repository_id in event.repository_ids] == [
        str(forge.id).strip("{}").lower()
    ]


def test_a_signing_token_of_gitlab_makes_a_signature() -> None:
    gitlab = next(forge for forge in FORGES if forge.name == "gitlab")
    delivery = received(*samples.signed_push("gitlab", sample(gitlab), KEY.encode()))
    assert "x-gitlab-token" not in delivery.headers
    assert forges.load_forge("gitlab").verify(delivery, KEY.encode())


def test_a_delivery_of_sourcehut_cannot_be_signed() -> None:
    with pytest.raises(UsageError, match="only sourcehut itself can sign a delivery"):
        samples.signed_push("sourcehut", sample(FORGES[0]), b"key")


@pytest.mark.parametrize("secret", [b"a plain secret", KEY.encode()])
def test_a_control_message_is_signed_with_the_secret_of_the_repo(secret: bytes) -> None:
    delivery = received(
        *samples.signed_control_message("rollback", "app", "17", sample(FORGES[0]), secret)
    )
    assert forges.recognise(delivery.headers, delivery.document) == "control"
    assert control.verify(delivery, secret)
    assert not control.verify(delivery, b"another")
    event = control.read(delivery)
    assert event.control is not None
    assert (event.control.action, event.control.repo, event.control.to) == ("rollback", "app", "17")
