"""receive(): what is queued, recorded and answered for deliveries of GitHub."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.config.compiled import WebhookConfig
from deployctl.errors import ConfigError, StoreError
from deployctl.store import deliveries, locks_and_holds
from deployctl.store.database import Database
from deployctl.webhook.forges import github
from deployctl.webhook.receive import KEPT_UNVERIFIED, Answer, receive
from tests.support.deliveries import REVISION, ZEROS, push, request, webhook_config

OTHER = "a" * 40
NO_PROOF = "there is no proof of a secret: set one at the forge (github, x-hub-signature-256)"
WRONG_PROOF = (
    "the signature or token (x-hub-signature-256) does not fit webhook_secret of app: the forge "
    "has another secret, or the time stamp is not of now"
)
REFUSED = "unknown repository, or credential missing or wrong"


class Hook:
    """A config and its record, with receive() and a count of the workers started."""

    def __init__(self, state_dir: Path) -> None:
        self.config = webhook_config(state_dir, app={})
        self.db = Database(str(state_dir))
        self.woken = 0

    def configure(self, **repos: dict[str, Any]) -> WebhookConfig:
        self.config = webhook_config(self.db.state_dir, **repos)
        return self.config

    def post(self, document: dict[str, Any] | bytes | None = None, **options: Any) -> Answer:
        delivery = request(push() if document is None else document, **options)
        return receive(delivery, self.config, now=1_700_000_000.5, wake=self.wake)

    def wake(self, repo: str) -> None:
        """Count a started worker; its deployment must be in the record by then, and committed."""
        assert repo in {row["repo"] for row in self.rows("deployments")}
        self.woken += 1

    def rows(self, table: str = "deliveries") -> list[dict[str, Any]]:
        found = self.db.connection.execute(f"SELECT * FROM {table} ORDER BY 1")
        return [dict(row) for row in found]

    def set_status(self, number: int | None, status: str) -> None:
        with self.db.writing() as connection:
            connection.execute(
                "UPDATE deployments SET status = ? WHERE number = ?", (status, number)
            )

    def hold(self, revision: str = REVISION) -> None:
        with self.db.writing() as connection:
            locks_and_holds.set_hold(
                connection, "app", locks_and_holds.Hold(revision, 1.0, "it was bad")
            )


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    opened = Hook(tmp_path / "state")
    yield opened
    opened.db.close()


def content(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.result, answer.reason


def test_a_push_to_the_branch_is_queued_recorded_and_a_worker_started(hook: Hook) -> None:
    answer = hook.post()
    assert content(answer) == (202, "queued", f"refs/heads/main is at {REVISION} now")
    assert (answer.delivery, answer.deployment, hook.woken) == (1, 1, 1)
    (deployment,) = hook.rows("deployments")
    assert deployment["repo"] == "app"
    assert (deployment["task"], deployment["trigger"]) == ("deploy", "webhook")
    assert (deployment["actor"], deployment["status"]) == ("octocat", "queued")
    # The deployment takes the tip of the branch when it fetches, not a revision from the delivery.
    assert (deployment["ref"], deployment["wanted_revision"]) == ("refs/heads/main", None)
    assert (deployment["delivery"], deployment["queued_at"]) == (1, 1_700_000_000.5)
    not_compared = ("facts", "headers", "body", "body_size")
    (row,) = hook.rows()
    assert {name: value for name, value in row.items() if name not in not_compared} == (
        {
            "id": 1,
            "forge": "github",
            "event": "push",
            "forge_id": "d-1",
            "repo": "app",
            "received_at": 1_700_000_000.5,
            "result": "queued",
            "reason": f"refs/heads/main is at {REVISION} now",
            "deployment": 1,
            "replay_of": None,
        }
    )


def test_the_answer_is_one_json_object_with_four_members(hook: Hook) -> None:
    body = hook.post().body()
    assert json.loads(body) == {
        "result": "queued",
        "reason": f"refs/heads/main is at {REVISION} now",
        "delivery": 1,
        "deployment": 1,
    }
    assert body.endswith(b"}\n")


def test_a_ping_is_answered_and_recorded(hook: Hook) -> None:
    answer = hook.post({"zen": "Keep it.", "repository": {"id": 1296269}}, event="ping")
    assert content(answer) == (200, "pong", "the webhook works")
    assert (answer.delivery, answer.deployment, hook.woken) == (1, None, 0)
    assert [row["result"] for row in hook.rows()] == ["pong"]


@pytest.mark.parametrize(
    ("changes", "event", "reason"),
    [
        ({"ref": "refs/heads/dev"}, "push", "refs/heads/dev is not deployed here"),
        ({"ref": "refs/tags/main"}, "push", "refs/tags/main is not deployed here"),
        ({"ref": "main"}, "push", "main is not deployed here"),
        ({"ref": "refs/heads/x\u001b"}, "push", "refs/heads/x is not deployed here"),
        ({"deleted": True}, "push", "refs/heads/main was deleted"),
        ({"after": ZEROS}, "push", "refs/heads/main was deleted"),
        ({"after": "0" * 64}, "push", "refs/heads/main was deleted"),
        ({}, "issues", "the event issues is not a push"),
        ({"ref": "main"}, "create", "the event create is not a push"),
    ],
)
def test_an_event_that_deploys_nothing_is_ignored_with_a_reason(
    hook: Hook, changes: dict[str, Any], event: str, reason: str
) -> None:
    answer = hook.post(push(**changes), event=event)
    assert content(answer) == (200, "ignored", reason)
    assert (answer.delivery, answer.deployment, hook.woken) == (1, None, 0)
    assert (hook.rows("deployments"), hook.rows()[0]["reason"]) == ([], reason)


@pytest.mark.parametrize("status", ["queued", "running", "succeeded", "superseded"])
def test_a_redelivery_is_a_duplicate_of_the_first_delivery(hook: Hook, status: str) -> None:
    first = hook.post()
    hook.set_status(first.deployment, status)
    second = hook.post()
    assert content(second) == (200, "duplicate", "this delivery is deployment 1 already")
    assert (second.delivery, second.deployment, hook.woken) == (2, 1, 1)
    assert [row["result"] for row in hook.rows()] == ["queued", "duplicate"]


@pytest.mark.parametrize("status", ["failed", "rolled_back", "degraded", "cancelled"])
def test_a_redelivery_is_queued_if_the_first_deployment_did_not_succeed(
    hook: Hook, status: str
) -> None:
    hook.set_status(hook.post().deployment, status)
    second = hook.post()
    assert (second.status, second.result, second.deployment) == (202, "queued", 2)
    third = hook.post()
    assert (third.status, third.result, third.deployment) == (200, "duplicate", 2)


def test_without_an_id_a_redelivery_is_recognised_by_its_body(hook: Hook) -> None:
    assert hook.post(number=None).result == "queued"
    assert hook.post(number=None).result == "duplicate"
    assert hook.post(push(size=1), number=None).result == "queued"
    body = json.dumps(push()).encode()
    known = deliveries.deployment_for_key(
        hook.db, "app", "sha256:" + hashlib.sha256(body).hexdigest()
    )
    assert known is not None
    assert (known.number, known.status, known.is_newest) == (1, "superseded", False)


def test_without_an_id_an_equal_body_after_another_push_is_a_new_delivery(hook: Hook) -> None:
    """A branch may be forced to another commit and back; the forge then sends equal bodies."""
    first, other = push(), push(after=OTHER)
    for document in (first, other, first):
        answer = hook.post(document, number=None)
        assert answer.result == "queued"
        hook.set_status(answer.deployment, "succeeded")
    assert hook.post(first, number=None).result == "duplicate"


def test_only_a_verified_delivery_that_was_queued_makes_a_duplicate(hook: Hook) -> None:
    assert hook.post(secret="wrong").result == "refused"
    assert hook.post(push(ref="refs/heads/dev")).result == "ignored"
    assert hook.post().result == "queued"


def test_a_held_revision_is_ignored_and_the_next_one_is_not(hook: Hook) -> None:
    hook.hold()
    held = hook.post()
    assert content(held) == (
        200,
        "ignored",
        f"{REVISION} is held: deployctl resume app lets it through",
    )
    assert hook.rows("deployments") == []
    assert hook.post(push(after=OTHER), number="d-2").result == "queued"


def test_a_redelivery_of_a_revision_that_was_rolled_back_is_ignored(hook: Hook) -> None:
    hook.set_status(hook.post().deployment, "rolled_back")
    hook.hold()
    assert hook.post().result == "ignored"


def test_a_locked_repo_still_queues(hook: Hook) -> None:
    locks_and_holds.set_lock(hook.db, "app", locks_and_holds.Lock("ada", 1.0, "holidays"))
    assert hook.post().result == "queued"


def test_a_newer_push_supersedes_the_one_that_waits(hook: Hook) -> None:
    hook.post()
    hook.post(push(after=OTHER), number="d-2")
    statuses = [(row["status"], row["superseded_by"]) for row in hook.rows("deployments")]
    assert statuses == [("superseded", 2), ("queued", None)]


def test_of_equal_deliveries_at_the_same_time_one_is_queued(hook: Hook) -> None:
    answers: list[Answer] = []
    start = threading.Barrier(8)

    def post() -> None:
        start.wait()
        answers.append(receive(request(push()), hook.config, now=1.0, wake=lambda _: None))

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.result for answer in answers) == ["duplicate"] * 7 + ["queued"]
    assert {answer.deployment for answer in answers} == {1}


def test_all_refused_deliveries_get_the_same_answer(hook: Hook) -> None:
    hook.configure(app={}, open={"id": "2", "secrets": []})
    answers = [
        hook.post(secret=None),
        hook.post(secret="wrong"),
        hook.post(secret=""),
        hook.post(push(repository={"id": 3})),
        hook.post(push(repository=None)),
        hook.post(push(repository={"id": 2})),
        hook.post(path="/open"),
        hook.post(path="/nothing"),
    ]
    assert {(answer.status, answer.body()) for answer in answers} == {
        (
            401,
            b'{"result": "refused", "reason": "' + REFUSED.encode() + b'", '
            b'"delivery": null, "deployment": null}\n',
        )
    }
    assert [(row["repo"], row["reason"]) for row in hook.rows()] == [
        ("app", NO_PROOF),
        ("app", WRONG_PROOF),
        ("app", WRONG_PROOF),
        (None, "no repo of repos.yml matches it (it comes from github and names -)"),
        (None, "no repo of repos.yml matches it (it comes from github and names -)"),
        ("open", "the repo has no webhook_secret: set it here and at the forge"),
        ("open", "the repo has no webhook_secret: set it here and at the forge"),
        (None, "no repo of repos.yml matches it (it comes from github and names nothing)"),
    ]
    assert hook.woken == 0


@pytest.mark.parametrize("path", ["/app", "/open", "/nothing"])
def test_an_unknown_repo_takes_as_much_work_as_a_known_one(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    hook.configure(app={}, open={"secrets": []})
    secrets: list[bytes] = []
    monkeypatch.setattr(github, "verify", lambda _delivery, secret: secrets.append(secret))
    assert hook.post(path=path).result == "refused"
    assert len(secrets) == 1


def test_a_request_without_a_header_of_a_forge_is_refused(hook: Hook) -> None:
    delivery = request(push())
    delivery.headers = {
        name: value for name, value in delivery.headers.items() if not name.startswith("x-")
    }
    assert receive(delivery, hook.config, now=1.0, wake=hook.wake).status == 401
    assert [(row["forge"], row["reason"]) for row in hook.rows()] == [
        (None, "no header of a forge that deployctl knows")
    ]


def test_the_number_of_recorded_deliveries_that_were_not_verified_is_limited(hook: Hook) -> None:
    hook.post()
    with hook.db.writing() as connection:
        connection.executemany(
            "INSERT INTO deliveries (received_at, result, reason) VALUES (1.0, 'refused', ?)",
            [(str(number),) for number in range(KEPT_UNVERIFIED)],
        )
    hook.post(secret="wrong")
    rows = hook.rows()
    assert len(rows) == KEPT_UNVERIFIED + 1
    assert [rows[0]["result"], rows[1]["reason"]] == ["queued", "1"]


def test_a_delivery_is_refused_even_if_it_cannot_be_recorded(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hook.config = webhook_config(tmp_path / "file", app={})
    assert hook.post(secret="wrong").status == 401


@pytest.mark.parametrize("event", ["push", "ping"])
def test_a_delivery_that_cannot_be_recorded_is_not_accepted(
    hook: Hook, tmp_path: Path, event: str
) -> None:
    (tmp_path / "file").touch()
    hook.config = webhook_config(tmp_path / "file", app={})
    with pytest.raises(StoreError):
        hook.post(event=event)
    assert hook.woken == 0


def test_a_secret_that_cannot_be_read_is_recorded_for_the_operator(
    hook: Hook, tmp_path: Path
) -> None:
    hook.configure(app={"secrets": [f"file:{tmp_path}/missing"]})
    with pytest.raises(ConfigError):
        hook.post()
    (row,) = hook.rows()
    assert (row["result"], row["repo"]) == ("error", "app")
    assert row["reason"].startswith(f"cannot read the secret file {tmp_path}/missing: ")


def test_any_of_several_secrets_verifies_a_delivery(hook: Hook) -> None:
    hook.configure(app={"secrets": ["old", "new"]})
    assert [hook.post(secret=secret).status for secret in ("old", "new", "other")] == [
        202,
        200,
        401,
    ]


@pytest.mark.parametrize(
    ("repo", "changes"),
    [
        ({"id": "1296269"}, {}),
        ({"id": "1296269", "full_name": "octo/Renamed"}, {}),
        ({"id": None, "full_name": "OCTO/hello-world"}, {}),
        ({"id": "7", "full_name": "o/h"}, {"repository": {"full_name": "O/H"}}),
        ({"forge": "github"}, {}),
    ],
)
def test_a_repo_matches_by_its_id_or_its_full_name(
    hook: Hook, repo: dict[str, Any], changes: dict[str, Any]
) -> None:
    hook.configure(app=repo)
    assert hook.post(push(**changes)).result == "queued"


@pytest.mark.parametrize(
    "repo",
    [
        {"id": "7"},
        {"id": "7", "full_name": "octo/Hello-World"},
        {"id": None, "full_name": "octo/hello"},
        {"id": None, "full_name": None},
        {"forge": "gitlab"},
    ],
)
def test_another_repository_is_refused(hook: Hook, repo: dict[str, Any]) -> None:
    hook.configure(app=repo)
    assert hook.post().result == "refused"


def test_the_url_may_name_the_repo(hook: Hook) -> None:
    hook.configure(app={"id": None}, other={"id": None})
    answer = hook.post(push(repository=None), path="/other")
    assert (answer.result, hook.rows()[0]["repo"]) == ("queued", "other")


def test_a_push_goes_to_every_repo_that_follows_the_branch(hook: Hook) -> None:
    hook.configure(staging={"branch": "dev"}, foreign={"secrets": ["other"]}, blue={}, green={})
    answer = hook.post()
    assert (answer.result, answer.delivery, answer.deployment, hook.woken) == ("queued", 2, 1, 2)
    assert [(row["repo"], row["result"], row["deployment"]) for row in hook.rows()] == [
        ("staging", "ignored", None),
        ("blue", "queued", 1),
        ("green", "queued", 2),
    ]
    hook.set_status(1, "succeeded")
    hook.set_status(2, "failed")
    second = hook.post()
    assert (second.status, second.result, second.deployment) == (202, "queued", 3)


@pytest.mark.parametrize("secret", ["It's a Secret to Everybody", None])
def test_a_malformed_body_is_answered_400_signed_or_not(hook: Hook, secret: str | None) -> None:
    answer = hook.post(b'{"ref": 1, "ref": 2}', secret=secret)
    assert content(answer) == (400, "malformed", "a key occurs twice in one object")
    (row,) = hook.rows()
    assert (answer.delivery, row["result"], row["reason"]) == (None, "malformed", answer.reason)
    answer = hook.post(push(after="main"), secret=secret)
    assert (answer.status, answer.result) == (400, "malformed")


@pytest.mark.parametrize("path", ["", "/app", "/nothing", "/gitea"])
@pytest.mark.parametrize("body", [b"{}", b'{"ref": "refs/heads/main", "repository": []}'])
def test_an_invalid_event_is_malformed_for_any_path(hook: Hook, path: str, body: bytes) -> None:
    hook.configure(app={}, gitea={"forge": "gitea"})
    assert hook.post(body, secret=None, path=path).status == 400
    (row,) = hook.rows()
    assert row["result"] == "malformed"


def test_a_worker_is_started_for_every_repo_that_a_delivery_queued(hook: Hook) -> None:
    hook.configure(blue={}, green={})
    hook.post()
    assert hook.woken == 2


def test_a_delivery_id_that_is_not_ascii_does_not_count(hook: Hook) -> None:
    assert hook.post(number="\udcff\udcfeid").result == "queued"
    assert hook.post(number="\udcff\udcfeother").result == "duplicate"


AWKWARD_SECRET = 'hunter2-Sup3r/ü"key'
SPELLINGS = (
    AWKWARD_SECRET,
    json.dumps(AWKWARD_SECRET)[1:-1],
    json.dumps(AWKWARD_SECRET, ensure_ascii=False)[1:-1],
)


@pytest.mark.parametrize("secret", [AWKWARD_SECRET, "wrong"])
def test_no_secret_is_recorded_of_a_delivery_verified_or_not(hook: Hook, secret: str) -> None:
    hook.configure(app={"secrets": [AWKWARD_SECRET]})
    hook.post(
        push(
            hook={"token": AWKWARD_SECRET},
            head_commit={"message": f"[skip deploy] {AWKWARD_SECRET}"},
        ),
        secret=secret,
    )
    hook.post(
        b'{"token": "Plain-Sup3rS3cret", "ref": NaN, "x": "' + AWKWARD_SECRET.encode() + b'"}'
    )
    for row in hook.rows():
        stored = " ".join(str(value) for value in row.values())
        assert not [text for text in (*SPELLINGS, "Plain-Sup3r") if text in stored]


def test_little_is_recorded_of_a_large_delivery_that_was_not_verified(hook: Hook) -> None:
    hook.config.max_body = 3_000_000
    for document in (
        push(repository={"id": 1296269, "full_name": "x" * 1_000_000}),
        push(padding="x" * 1_000_000),
    ):
        assert hook.post(document, secret="wrong").status == 401
    assert hook.post(push(ref="refs/heads/" + "x" * 1_000_000), secret="wrong").status == 400
    for row in hook.rows():
        assert len(row["body"]) + len(row["headers"]) + len(row["facts"] or "") < 40_000


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_another_method_is_not_allowed(hook: Hook, method: str) -> None:
    assert content(hook.post(method=method)) == (405, "malformed", "only POST is answered here")


def test_a_body_beyond_the_limit_is_too_large(hook: Hook) -> None:
    hook.config.max_body = 100
    assert content(hook.post()) == (413, "malformed", "the body is too large")
