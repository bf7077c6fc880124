"""Rules for the modules of all forges: recognition, verification, reading."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from deployctl.values import forge_names
from deployctl.webhook.forges import (
    azure_devops,
    bitbucket,
    bitbucket_server,
    codeup,
    coding,
    forgejo,
    gitea,
    gitee,
    github,
    gitlab,
    gogs,
    load_forge,
    recognise,
    sourcehut,
    standard_webhooks,
)
from deployctl.webhook.forges.event import Delivery, Event
from deployctl.webhook.payload import MalformedError
from tests.support.deliveries import REVISION
from tests.support.forges import FORGES, TAG, Document, Forge
from tests.support.paths import ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployctl.webhook import forges

# The type checker verifies here that each module has all names of the protocol.
MODULES: tuple[forges.Forge, ...] = (
    *(github, gitlab, bitbucket, bitbucket_server, gitea, forgejo, gogs, gitee, codeup, coding),
    *(azure_devops, sourcehut, standard_webhooks),
)
each_forge = pytest.mark.parametrize("forge", FORGES, ids=lambda forge: forge.name)


def read(
    forge: Forge, document: Document | None = None, changes: Mapping[str, str] | None = None
) -> Event:
    return load_forge(forge.name).read(forge.delivery(document, changes=changes))


def cases(field: str) -> list[Any]:
    """Return the deliveries in one field of every forge, as test parameters."""
    return [
        pytest.param(forge, changes, document, id=f"{forge.name}-{index}")
        for forge in FORGES
        for index, (changes, document) in enumerate(getattr(forge, field))
    ]


def test_every_forge_has_a_module_and_a_name_in_the_config() -> None:
    assert sorted(forge_names.FORGES) == sorted(module.NAME for module in MODULES)
    assert [load_forge(module.NAME) for module in MODULES] == [*MODULES]
    assert {forge.name for forge in FORGES} | {"sourcehut"} == {*forge_names.FORGES}


def test_a_weakness_is_one_line() -> None:
    weak = {module.NAME: module.WEAKNESS for module in MODULES if module.WEAKNESS}
    assert sorted(weak) == ["azure-devops", "codeup", "coding", "gitee", "gitlab", "sourcehut"]
    assert all(20 < len(text) < 130 and text.isprintable() for text in weak.values())


@pytest.mark.parametrize("name", forge_names.FORGES)
def test_only_the_module_that_is_needed_is_loaded(name: str) -> None:
    code = (
        "import sys; from deployctl.webhook import forges; forges.load_forge(sys.argv[1])\n"
        "print(*(name for name in sys.modules if name.startswith('deployctl.webhook.forges.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    shared = {"event", "fields", "githublike", "proof"}
    related = {"forgejo": {"gitea"}, "gogs": {"gitea"}, "gitlab": {"standard_webhooks"}}
    related["codeup"] = {"gitlab", "standard_webhooks"}
    loaded = {module.rpartition(".")[2] for module in done.stdout.split()}
    assert loaded - shared == {name.replace("-", "_")} | related.get(name, set())


# ---- recognition ----------------------------------------------------------------------------


@each_forge
def test_a_forge_is_recognised_though_it_sends_headers_of_others(forge: Forge) -> None:
    delivery = forge.delivery()
    assert recognise(delivery.headers, delivery.document) == forge.name


@pytest.mark.parametrize(
    ("headers", "document", "name"),
    [
        ({"x-event-key": "repo:push", "x-hook-uuid": "h"}, {}, "bitbucket"),
        ({"x-event-key": "repo:push", "x-request-uuid": "r"}, {}, "bitbucket"),
        ({"x-event-key": "repo:push"}, {"push": {}}, "bitbucket"),
        ({"x-event-key": "repo:refs_changed", "x-request-id": "r"}, {}, "bitbucket-server"),
        ({"x-event-key": "repo:refs_changed"}, {"changes": []}, "bitbucket-server"),
        (
            {"x-github-event": "push", "x-event-key": "x", "x-request-id": "r"},
            {},
            "bitbucket-server",
        ),
        ({"webhook-signature": "v1,x", "x-gitlab-event": "Push Hook"}, {}, "gitlab"),
        ({"x-payload-signature": "x"}, {}, "sourcehut"),
        ({"x-github-event": "push"}, {"eventType": "git.push", "resource": {}}, "github"),
        ({}, {"eventType": "git.push"}, None),
        ({}, {}, None),
        ({"x-hub-signature-256": "sha256="}, {"ref": "refs/heads/main"}, None),
    ],
)
def test_a_forge_is_recognised_by_its_most_specific_header(
    headers: dict[str, str], document: Document, name: str | None
) -> None:
    assert recognise(headers, document) == name


# ---- verification ---------------------------------------------------------------------------


@each_forge
def test_the_proof_of_the_secret_verifies(forge: Forge) -> None:
    assert load_forge(forge.name).verify(forge.delivery(), forge.secret.encode())


@each_forge
def test_the_proof_of_another_secret_does_not_verify(forge: Forge) -> None:
    verify = load_forge(forge.name).verify
    assert not verify(forge.delivery(), forge.wrong.encode())
    assert not verify(forge.delivery(secret=forge.wrong), forge.secret.encode())


@each_forge
@pytest.mark.parametrize("value", ["", " ", "sha256=", "v1,", "Basic ", "x", "\udcff", "\u0663"])
def test_an_empty_or_invalid_proof_does_not_verify(forge: Forge, value: str) -> None:
    for header in forge.prove(b"", forge.secret):
        delivery = forge.delivery(changes={header: value})
        assert not load_forge(forge.name).verify(delivery, forge.secret.encode())
        assert not load_forge(forge.name).verify(delivery, b"")


@each_forge
def test_a_delivery_without_a_proof_does_not_verify(forge: Forge) -> None:
    delivery = forge.delivery()
    delivery.headers = dict(forge.headers)
    assert not load_forge(forge.name).verify(delivery, forge.secret.encode())
    assert not load_forge(forge.name).verify(delivery, b"")


@each_forge
def test_a_changed_proof_does_not_verify(forge: Forge) -> None:
    for header, value in forge.prove(forge.delivery().body, forge.secret).items():
        for wrong in (value + "0", "0" + value, value[:-1], value.swapcase()):
            delivery = forge.delivery(changes={header: wrong})
            unchanged = header in ("webhook-timestamp", "x-gitee-timestamp") and wrong == value
            assert unchanged or not load_forge(forge.name).verify(delivery, forge.secret.encode())


@each_forge
def test_an_empty_secret_never_verifies(forge: Forge) -> None:
    assert not load_forge(forge.name).verify(forge.delivery(secret=""), b"")


@each_forge
def test_another_body_verifies_only_if_the_forge_does_not_sign_bodies(forge: Forge) -> None:
    delivery = forge.delivery()
    delivery.body = delivery.payload = b'{"ref": "refs/heads/evil"}'
    assert load_forge(forge.name).verify(delivery, forge.secret.encode()) is not forge.covers_body
    assert forge.covers_body or load_forge(forge.name).WEAKNESS


@pytest.mark.parametrize("forge", [forge for forge in FORGES if forge.secret.startswith("It's")])
def test_a_secret_beyond_ascii_verifies(forge: Forge) -> None:
    delivery = forge.delivery(secret="gehe\u00edm")
    # A web server passes the bytes on; Python reads them as UTF-8, or as surrogate escapes.
    assert load_forge(forge.name).verify(delivery, "gehe\u00edm".encode())


# ---- reading --------------------------------------------------------------------------------


@each_forge
def test_a_push_is_read_with_its_ref_repository_and_actor(forge: Forge) -> None:
    event = read(forge)
    assert (event.kind, event.forge_id, event.full_name) == ("push", forge.number, forge.full_name)
    assert [repository_id.strip("{}").lower() for repository_id in event.repository_ids] == [
        (forge.id or "").strip("{}")
    ]
    (pushed,) = event.pushes
    assert (pushed.ref, pushed.revision, pushed.deleted) == ("refs/heads/main", REVISION, False)
    assert (event.actor, pushed.subject) == ("ada", forge.subject)


@each_forge
def test_a_tag_is_read_with_its_full_name(forge: Forge) -> None:
    event = read(forge, forge.tag, forge.tag_headers)
    (pushed,) = event.pushes
    assert (event.kind, pushed.ref, pushed.revision, pushed.deleted) == (
        "push",
        TAG,
        REVISION,
        False,
    )


@each_forge
def test_a_deletion_has_no_revision(forge: Forge) -> None:
    (pushed,) = read(forge, forge.deletion).pushes
    assert (pushed.ref, pushed.revision, pushed.deleted) == ("refs/heads/main", None, True)


@pytest.mark.parametrize(("forge", "changes", "document"), cases("pings"))
def test_a_test_delivery_is_read_as_a_ping(
    forge: Forge, changes: dict[str, str], document: Document
) -> None:
    event = read(forge, document, changes)
    assert (event.kind, event.pushes) == ("ping", [])


@pytest.mark.parametrize(("forge", "changes", "document"), cases("other_events"))
def test_another_event_is_not_read_as_a_push(
    forge: Forge, changes: dict[str, str], document: Document
) -> None:
    event = read(forge, document, changes)
    assert (event.kind, event.pushes) == ("other", [])
    sent = [*changes.values(), document.get("eventType"), document.get("type")]
    assert event.name in sent


@pytest.mark.parametrize(
    ("forge", "document"),
    [
        pytest.param(forge, document, id=f"{forge.name}-{index}")
        for forge in FORGES
        for index, document in enumerate(forge.malformed)
    ],
)
def test_a_value_of_the_wrong_type_is_malformed(forge: Forge, document: Document) -> None:
    with pytest.raises(MalformedError):
        read(forge, document)


@each_forge
@pytest.mark.parametrize("size", [40, 64])
def test_a_revision_may_be_of_sha1_or_sha256(forge: Forge, size: int) -> None:
    revision = REVISION.ljust(size, "0")
    assert (
        load_forge(forge.name).read(rewritten(forge, REVISION, revision)).pushes[0].revision
        == revision
    )
    assert load_forge(forge.name).read(rewritten(forge, REVISION, "0" * size)).pushes[0].deleted


@each_forge
def test_names_lose_control_characters(forge: Forge) -> None:
    assert load_forge(forge.name).read(rewritten(forge, '"ada"', '"a\\u001b\\nda"')).actor == "ada"


def rewritten(forge: Forge, old: str, new: str) -> Delivery:
    """Return the push with a text replaced in its JSON."""
    delivery = forge.delivery()
    delivery.document = json.loads(delivery.body.decode().replace(old, new))
    return delivery
