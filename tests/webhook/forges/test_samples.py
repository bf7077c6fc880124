"""The deliveries that deployctl makes: each forge's own module takes them for what they tell."""

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
        number="d-7",
        now=NOW,
        repository_id=forge.id,
        full_name=forge.full_name,
        actor="ada",
    )


def received(headers: dict[str, str], body: bytes) -> Delivery:
    lower = {name.lower(): value for name, value in headers.items()}
    return Delivery(lower, body, json.loads(body), received_at=NOW)


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/heads/feature/x", "refs/tags/v1"])
@pytest.mark.parametrize("forge", SIGNING, ids=lambda forge: forge.name)
def test_a_push_is_recognised_verified_and_read(forge: Forge, ref: str) -> None:
    made = received(*samples.push(forge.name, sample(forge, ref), forge.secret.encode()))
    module = forges.load(forge.name)
    assert forges.recognise(made.headers, made.document) == forge.name
    assert module.verify(made, forge.secret.encode())
    assert not module.verify(made, forge.wrong.encode())
    event = module.read(made)
    assert (event.kind, event.actor) == ("push", "ada")
    assert [(push.ref, push.revision, push.deleted) for push in event.pushes] == [
        (ref, REVISION, False)
    ]
    assert event.full_name == forge.full_name
    assert [one.strip("{}").lower() for one in event.repository_ids] == [
        str(forge.id).strip("{}").lower()
    ]


def test_gitlabs_signing_token_signs() -> None:
    gitlab = next(forge for forge in FORGES if forge.name == "gitlab")
    made = received(*samples.push("gitlab", sample(gitlab), KEY.encode()))
    assert "x-gitlab-token" not in made.headers
    assert forges.load("gitlab").verify(made, KEY.encode())


def test_nobody_can_sign_for_sourcehut() -> None:
    with pytest.raises(UsageError, match="only sourcehut itself can sign a delivery"):
        samples.push("sourcehut", sample(FORGES[0]), b"key")


@pytest.mark.parametrize("secret", [b"a plain secret", KEY.encode()])
def test_an_order_is_signed_with_the_secret_of_the_repo(secret: bytes) -> None:
    made = received(*samples.control_message("rollback", "app", "17", sample(FORGES[0]), secret))
    assert forges.recognise(made.headers, made.document) == "control"
    assert control.verify(made, secret)
    assert not control.verify(made, b"another")
    event = control.read(made)
    assert event.control is not None
    assert (event.control.action, event.control.repo, event.control.to) == ("rollback", "app", "17")
