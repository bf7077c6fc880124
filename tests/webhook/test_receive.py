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
from deployctl.store import deliveries, freezes
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
    """receive() with one config, its record, and a count of the workers started."""

    def __init__(self, state_dir: Path) -> None:
        self.config = webhook_config(state_dir, app={})
        self.db = Database(str(state_dir))
        self.woken = 0

    def use(self, **repos: dict[str, Any]) -> WebhookConfig:
        self.config = webhook_config(self.db.state_dir, **repos)
        return self.config

    def post(self, document: dict[str, Any] | bytes | None = None, **about: Any) -> Answer:
        made = request(push() if document is None else document, **about)
        return receive(made, self.config, now=1_700_000_000.5, wake=self.wake)

    def wake(self, repo: str) -> None:
        """A worker starts when what it is to run can be seen by everybody."""
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
            freezes.set_hold(connection, "app", freezes.Hold(revision, 1.0, "it was bad"))


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    made = Hook(tmp_path / "state")
    yield made
    made.db.close()


def told(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.result, answer.reason


def test_a_push_to_the_branch_is_queued_recorded_and_a_worker_started(hook: Hook) -> None:
    answer = hook.post()
    assert told(answer) == (202, "queued", f"refs/heads/main is at {REVISION} now")
    assert (answer.delivery, answer.deployment, hook.woken) == (1, 1, 1)
    (deployment,) = hook.rows("deployments")
    assert deployment["repo"] == "app"
    assert (deployment["task"], deployment["trigger"]) == ("deploy", "webhook")
    assert (deployment["actor"], deployment["status"]) == ("octocat", "queued")
    # What is deployed is the tip of the branch when its turn comes, not what a payload says.
    assert (deployment["ref"], deployment["wanted_revision"]) == ("refs/heads/main", None)
    assert (deployment["delivery"], deployment["queued_at"]) == (1, 1_700_000_000.5)
    kept = ("facts", "headers", "body", "body_size")
    (row,) = hook.rows()
    assert {name: value for name, value in row.items() if name not in kept} == (
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


def test_a_ping_is_answered_and_kept(hook: Hook) -> None:
    answer = hook.post({"zen": "Keep it.", "repository": {"id": 1296269}}, event="ping")
    assert told(answer) == (200, "pong", "the webhook works")
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
def test_what_is_not_deployed_is_ignored_with_the_reason(
    hook: Hook, changes: dict[str, Any], event: str, reason: str
) -> None:
    answer = hook.post(push(**changes), event=event)
    assert told(answer) == (200, "ignored", reason)
    assert (answer.delivery, answer.deployment, hook.woken) == (1, None, 0)
    assert (hook.rows("deployments"), hook.rows()[0]["reason"]) == ([], reason)


@pytest.mark.parametrize("status", ["queued", "running", "succeeded", "superseded"])
def test_the_same_delivery_again_is_a_duplicate_of_the_first(hook: Hook, status: str) -> None:
    first = hook.post()
    hook.set_status(first.deployment, status)
    again = hook.post()
    assert told(again) == (200, "duplicate", "this delivery is deployment 1 already")
    assert (again.delivery, again.deployment, hook.woken) == (2, 1, 1)
    assert [row["result"] for row in hook.rows()] == ["queued", "duplicate"]


@pytest.mark.parametrize("status", ["failed", "rolled_back", "degraded", "cancelled"])
def test_the_same_delivery_runs_again_after_a_deployment_that_went_wrong(
    hook: Hook, status: str
) -> None:
    hook.set_status(hook.post().deployment, status)
    again = hook.post()
    assert (again.status, again.result, again.deployment) == (202, "queued", 2)
    third = hook.post()
    assert (third.status, third.result, third.deployment) == (200, "duplicate", 2)


def test_without_an_id_the_body_tells_that_a_delivery_is_the_same(hook: Hook) -> None:
    assert hook.post(number=None).result == "queued"
    assert hook.post(number=None).result == "duplicate"
    assert hook.post(push(size=1), number=None).result == "queued"
    body = json.dumps(push()).encode()
    known = deliveries.deployment_for_key(
        hook.db, "app", "sha256:" + hashlib.sha256(body).hexdigest()
    )
    assert known is not None
    assert (known.number, known.status, known.is_newest) == (1, "superseded", False)


def test_without_an_id_another_push_in_between_makes_the_same_body_a_new_one(hook: Hook) -> None:
    """A branch may be forced back and forth, and each time the forge tells the same."""
    there, back = push(), push(after=OTHER)
    for document in (there, back, there):
        answer = hook.post(document, number=None)
        assert answer.result == "queued"
        hook.set_status(answer.deployment, "succeeded")
    assert hook.post(there, number=None).result == "duplicate"


def test_an_id_belongs_to_the_verified_delivery_that_was_queued(hook: Hook) -> None:
    assert hook.post(secret="wrong").result == "refused"
    assert hook.post(push(ref="refs/heads/dev")).result == "ignored"
    assert hook.post().result == "queued"


def test_a_held_revision_is_ignored_and_the_next_one_is_not(hook: Hook) -> None:
    hook.hold()
    held = hook.post()
    assert told(held) == (
        200,
        "ignored",
        f"{REVISION} is held: deployctl resume app lets it through",
    )
    assert hook.rows("deployments") == []
    assert hook.post(push(after=OTHER), number="d-2").result == "queued"


def test_a_redelivery_of_what_was_rolled_back_is_held(hook: Hook) -> None:
    hook.set_status(hook.post().deployment, "rolled_back")
    hook.hold()
    assert hook.post().result == "ignored"


def test_a_locked_repo_still_queues(hook: Hook) -> None:
    freezes.set_lock(hook.db, "app", freezes.Lock("ada", 1.0, "holidays"))
    assert hook.post().result == "queued"


def test_a_newer_push_takes_the_place_of_the_one_that_waits(hook: Hook) -> None:
    hook.post()
    hook.post(push(after=OTHER), number="d-2")
    statuses = [(row["status"], row["superseded_by"]) for row in hook.rows("deployments")]
    assert statuses == [("superseded", 2), ("queued", None)]


def test_of_two_equal_deliveries_at_once_one_is_queued(hook: Hook) -> None:
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


def test_strangers_all_get_the_same_answer(hook: Hook) -> None:
    hook.use(app={}, open={"id": "2", "secrets": []})
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
        (None, "no repo is meant by it (it comes from github and names -)"),
        (None, "no repo is meant by it (it comes from github and names -)"),
        ("open", "the repo has no webhook_secret: set it here and at the forge"),
        ("open", "the repo has no webhook_secret: set it here and at the forge"),
        (None, "no repo is meant by it (it comes from github and names nothing)"),
    ]
    assert hook.woken == 0


@pytest.mark.parametrize("path", ["/app", "/open", "/nothing"])
def test_a_repo_that_is_not_there_takes_as_much_work_as_one_that_is(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    hook.use(app={}, open={"secrets": []})
    tried: list[bytes] = []
    monkeypatch.setattr(github, "verify", lambda _delivery, secret: tried.append(secret))
    assert hook.post(path=path).result == "refused"
    assert len(tried) == 1


def test_a_request_without_any_forges_header_is_refused(hook: Hook) -> None:
    made = request(push())
    made.headers = {
        name: value for name, value in made.headers.items() if not name.startswith("x-")
    }
    assert receive(made, hook.config, now=1.0, wake=hook.wake).status == 401
    assert [(row["forge"], row["reason"]) for row in hook.rows()] == [
        (None, "no header of a forge that deployctl knows")
    ]


def test_strangers_can_fill_only_so_much_of_the_inbox(hook: Hook) -> None:
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


def test_a_refusal_does_not_depend_on_the_record(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hook.config = webhook_config(tmp_path / "file", app={})
    assert hook.post(secret="wrong").status == 401


@pytest.mark.parametrize("event", ["push", "ping"])
def test_what_cannot_be_stored_is_not_accepted(hook: Hook, tmp_path: Path, event: str) -> None:
    (tmp_path / "file").touch()
    hook.config = webhook_config(tmp_path / "file", app={})
    with pytest.raises(StoreError):
        hook.post(event=event)
    assert hook.woken == 0


def test_a_secret_that_cannot_be_read_is_told_to_the_operator(hook: Hook, tmp_path: Path) -> None:
    hook.use(app={"secrets": [f"file:{tmp_path}/missing"]})
    with pytest.raises(ConfigError):
        hook.post()
    (row,) = hook.rows()
    assert (row["result"], row["repo"]) == ("error", "app")
    assert row["reason"].startswith(f"cannot read the secret file {tmp_path}/missing: ")


def test_any_of_several_secrets_will_do(hook: Hook) -> None:
    hook.use(app={"secrets": ["old", "new"]})
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
def test_a_repo_is_known_by_its_id_or_its_full_name(
    hook: Hook, repo: dict[str, Any], changes: dict[str, Any]
) -> None:
    hook.use(app=repo)
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
    hook.use(app=repo)
    assert hook.post().result == "refused"


def test_the_url_may_name_the_repo(hook: Hook) -> None:
    hook.use(app={"id": None}, other={"id": None})
    answer = hook.post(push(repository=None), path="/other")
    assert (answer.result, hook.rows()[0]["repo"]) == ("queued", "other")


def test_a_push_goes_to_every_repo_that_follows_the_branch(hook: Hook) -> None:
    hook.use(staging={"branch": "dev"}, foreign={"secrets": ["other"]}, blue={}, green={})
    answer = hook.post()
    assert (answer.result, answer.delivery, answer.deployment, hook.woken) == ("queued", 2, 1, 2)
    assert [(row["repo"], row["result"], row["deployment"]) for row in hook.rows()] == [
        ("staging", "ignored", None),
        ("blue", "queued", 1),
        ("green", "queued", 2),
    ]
    hook.set_status(1, "succeeded")
    hook.set_status(2, "failed")
    again = hook.post()
    assert (again.status, again.result, again.deployment) == (202, "queued", 3)


@pytest.mark.parametrize("secret", ["It's a Secret to Everybody", None])
def test_a_malformed_body_is_told_so_signed_or_not(hook: Hook, secret: str | None) -> None:
    answer = hook.post(b'{"ref": 1, "ref": 2}', secret=secret)
    assert told(answer) == (400, "malformed", "a key occurs twice in one object")
    (row,) = hook.rows()
    assert (answer.delivery, row["result"], row["reason"]) == (None, "malformed", answer.reason)
    answer = hook.post(push(after="main"), secret=secret)
    assert (answer.status, answer.result) == (400, "malformed")


@pytest.mark.parametrize("path", ["", "/app", "/nothing", "/gitea"])
@pytest.mark.parametrize("body", [b"{}", b'{"ref": "refs/heads/main", "repository": []}'])
def test_an_event_that_makes_no_sense_is_told_so_whoever_it_is_for(
    hook: Hook, path: str, body: bytes
) -> None:
    hook.use(app={}, gitea={"forge": "gitea"})
    assert hook.post(body, secret=None, path=path).status == 400
    (row,) = hook.rows()
    assert row["result"] == "malformed"


def test_one_delivery_wakes_for_every_repo_that_it_queued(hook: Hook) -> None:
    hook.use(blue={}, green={})
    hook.post()
    assert hook.woken == 2


def test_an_id_in_other_letters_than_ascii_is_none(hook: Hook) -> None:
    assert hook.post(number="\udcff\udcfeid").result == "queued"
    assert hook.post(number="\udcff\udcfeother").result == "duplicate"


SECRETS = 'hunter2-Sup3r/ü"key'
SPELLED = (SECRETS, json.dumps(SECRETS)[1:-1], json.dumps(SECRETS, ensure_ascii=False)[1:-1])


@pytest.mark.parametrize("secret", [SECRETS, "wrong"])
def test_no_secret_is_kept_of_what_is_verified_or_not(hook: Hook, secret: str) -> None:
    hook.use(app={"secrets": [SECRETS]})
    hook.post(
        push(hook={"token": SECRETS}, head_commit={"message": f"[skip deploy] {SECRETS}"}),
        secret=secret,
    )
    hook.post(b'{"token": "Plain-Sup3rS3cret", "ref": NaN, "x": "' + SECRETS.encode() + b'"}')
    for row in hook.rows():
        kept = " ".join(str(value) for value in row.values())
        assert not [spelled for spelled in (*SPELLED, "Plain-Sup3r") if spelled in kept]


def test_a_stranger_fills_little_of_the_disk(hook: Hook) -> None:
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
    assert told(hook.post(method=method)) == (405, "malformed", "only POST is answered here")


def test_a_body_beyond_the_limit_is_too_large(hook: Hook) -> None:
    hook.config.max_body = 100
    assert told(hook.post()) == (413, "malformed", "the body is too large")
