"""``on: ci_success``: a push waits until the forge reports that the checks of its commit passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.store import queue
from deployctl.store.database import Database
from deployctl.webhook.forges import load_forge
from deployctl.webhook.forges.event import Delivery
from deployctl.webhook.receive import Answer, receive
from tests.support.app import App
from tests.support.deliveries import REVISION, SECRET, push, request, webhook_config

OTHER = "a" * 40


def status(state: str, *, revision: str = REVISION, context: str = "build") -> dict[str, Any]:
    """Return the JSON of GitHub's event ``status``."""
    return {
        "sha": revision,
        "state": state,
        "context": context,
        "branches": [{"name": "main"}],
        "repository": {"id": 1296269},
    }


class Inbox:
    """The record, with receive() for the repo ``app``; counts deliveries and started workers."""

    def __init__(self, state_dir: Path) -> None:
        self.db = Database(str(state_dir))
        self.woken = 0
        self.count = 0

    def post(self, document: Any, event: str = "push", **repo: Any) -> Answer:
        self.count += 1
        config = webhook_config(self.db.state_dir, app={"on": "ci_success", **repo})
        delivery = request(document, event=event, number=f"d-{self.count}")
        return receive(delivery, config, now=1.0, wake=self._wake)

    def _wake(self, _repo: str) -> None:
        self.woken += 1

    def deployments(self) -> list[tuple[Any, ...]]:
        columns = "number, status, wanted_revision, awaits"
        rows = self.db.connection.execute(f"SELECT {columns} FROM deployments ORDER BY number")
        return [tuple(row) for row in rows]

    def set_status(self, number: int, status: str) -> None:
        with self.db.writing() as connection:
            connection.execute(
                "UPDATE deployments SET status = ? WHERE number = ?", (status, number)
            )


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    opened = Inbox(tmp_path / "state")
    yield opened
    opened.db.close()


def test_a_push_is_queued_but_not_run_before_its_checks_passed(inbox: Inbox) -> None:
    answer = inbox.post(push())
    assert (answer.status, answer.result, answer.deployment) == (202, "queued", 1)
    assert answer.reason.endswith("; it waits until the forge says that its checks passed")
    assert inbox.deployments() == [(1, "queued", REVISION, REVISION)]
    assert queue.waiting(inbox.db) == []


def test_a_push_runs_once_the_forge_reports_that_its_checks_passed(inbox: Inbox) -> None:
    inbox.post(push())
    pending = inbox.post(status("pending"), "status")
    assert (pending.result, pending.reason) == ("ignored", f"{REVISION} waits for its check build")
    inbox.woken = 0
    answer = inbox.post(status("success"), "status")
    assert (answer.status, answer.result, answer.deployment) == (202, "queued", 1)
    assert (queue.waiting(inbox.db), inbox.woken) == ([(1, "app")], 1)


def test_all_known_checks_must_have_passed(inbox: Inbox) -> None:
    inbox.post(push())
    inbox.post(status("pending", context="lint"), "status")
    answer = inbox.post(status("success"), "status")
    assert (answer.result, answer.reason) == ("ignored", f"{REVISION} waits for its check lint")
    assert inbox.post(status("success", context="lint"), "status").result == "queued"


@pytest.mark.parametrize("state", ["failure", "error"])
def test_a_failed_check_cancels_the_deployment_that_waits_for_it(inbox: Inbox, state: str) -> None:
    inbox.post(push())
    answer = inbox.post(status(state), "status")
    assert (answer.status, answer.result, answer.deployment) == (200, "ignored", 1)
    assert answer.reason == f"the check build of {REVISION} failed: deployment 1 is dropped"
    assert inbox.deployments() == [(1, "cancelled", REVISION, REVISION)]


def test_a_check_that_passes_after_it_failed_queues_the_commit_again(inbox: Inbox) -> None:
    inbox.post(push())
    inbox.post(status("failure"), "status")
    answer = inbox.post(status("success"), "status")
    assert (answer.result, answer.deployment) == ("queued", 2)
    assert inbox.deployments()[1] == (2, "queued", REVISION, None)


def test_a_check_may_be_reported_before_the_push(inbox: Inbox) -> None:
    inbox.post(status("success", revision=OTHER), "status")
    inbox.set_status(1, "succeeded")
    inbox.post(status("failure", context="lint"), "status")
    answer = inbox.post(push())
    assert (answer.result, answer.reason) == ("ignored", f"the check lint of {REVISION} failed")


def test_a_commit_of_the_branch_that_passed_is_queued_without_a_push(inbox: Inbox) -> None:
    answer = inbox.post(status("success"), "status")
    assert (answer.result, answer.deployment) == ("queued", 1)
    assert inbox.deployments() == [(1, "queued", REVISION, None)]
    assert inbox.post(push()).result == "queued"


def test_a_commit_of_another_branch_is_ignored(inbox: Inbox) -> None:
    document = {**status("success"), "branches": [{"name": "dev"}]}
    assert inbox.post(document, "status").result == "ignored"
    assert inbox.deployments() == []


def test_an_older_commit_that_passes_late_is_not_deployed_after_a_newer_one(inbox: Inbox) -> None:
    inbox.post(push())
    inbox.post(push(after=OTHER))
    assert inbox.post(status("success"), "status").result == "ignored"
    assert inbox.post(status("success", revision=OTHER), "status").result == "queued"
    inbox.set_status(2, "succeeded")
    assert inbox.post(status("success"), "status").result == "ignored"
    assert [row[:2] for row in inbox.deployments()] == [(1, "superseded"), (2, "succeeded")]


def test_a_repo_that_deploys_every_push_ignores_checks(inbox: Inbox) -> None:
    answer = inbox.post(status("success"), "status", on="push")
    assert (answer.result, answer.reason) == ("ignored", "the event status is not a push")


def test_two_suites_of_one_app_are_two_checks(inbox: Inbox) -> None:
    """On GitHub, the workflows of a repository are check suites of one app, GitHub Actions."""
    inbox.post(push())
    for number, conclusion in ((1, "failure"), (2, "success")):
        document = run("check_suite", conclusion=conclusion, app={"name": "Actions"}, id=number)
        answer = inbox.post({**document, "repository": {"id": 1296269}}, "check_suite")
        assert answer.result == "ignored"
    assert [row[1] for row in inbox.deployments()] == ["cancelled"]


def test_a_check_that_passes_after_it_failed_need_not_name_the_branch(
    inbox: Inbox,
) -> None:
    """Gitea names no branch, and for a repo that deploys tags none is needed."""
    inbox.post(push(ref="refs/tags/v1"), tags="v*")
    for state in ("failure", "pending", "success"):
        answer = inbox.post({**status(state), "branches": None}, "status", tags="v*")
    assert (answer.result, answer.deployment) == ("queued", 2)
    row = inbox.db.connection.execute("SELECT ref FROM deployments WHERE number = 2").fetchone()
    assert row["ref"] == "refs/tags/v1"


def test_an_older_report_that_arrives_late_does_not_count(inbox: Inbox) -> None:
    inbox.post({**status("success"), "id": 12, "branches": []}, "status")
    inbox.post({**status("pending"), "id": 11, "branches": []}, "status")
    assert inbox.post(push()).reason == f"refs/heads/main is at {REVISION} now"


def test_a_redelivered_report_is_a_duplicate_unless_the_deployment_failed(inbox: Inbox) -> None:
    inbox.post(push())
    report = status("success")
    config = webhook_config(inbox.db.state_dir, app={"on": "ci_success"})

    def post_report() -> Answer:
        return receive(
            request(report, event="status", number="c-1"), config, now=1.0, wake=lambda _: None
        )

    assert (post_report().deployment, post_report().result) == (1, "duplicate")
    inbox.set_status(1, "failed")
    last = post_report()
    assert (last.status, last.result, last.deployment) == (202, "queued", 2)


def test_a_push_that_names_no_commit_is_ignored(inbox: Inbox) -> None:
    from tests.support.forges import FORGES

    forge = next(forge for forge in FORGES if forge.name == "standard-webhooks")
    delivery = forge.request("/app", document={"type": "push", "data": {"ref": "refs/heads/main"}})
    repo = {"on": "ci_success", "secrets": [forge.secret]}
    config = webhook_config(inbox.db.state_dir, app=repo)
    answer = receive(delivery, config, now=1_700_000_000.5, wake=lambda _: None)
    assert (answer.status, answer.result, inbox.deployments()) == (200, "ignored", [])


def test_a_deployment_that_a_person_cancelled_is_not_queued_again_by_a_check(
    app: App, tmp_path: Path
) -> None:
    app.configure(webhook_secret=SECRET, on="ci_success")
    app.push("1")
    inbox = Inbox(tmp_path / "state")
    inbox.post(push(after=app.upstream.head))
    app.cli("cancel", "1")
    answer = inbox.post(status("success", revision=app.upstream.head), "status")
    assert answer.result == "ignored"
    assert app.cli.json("sync")["deployments"] == []
    assert app.status["queued"] == []
    inbox.db.close()


# ---- reports of the forges ------------------------------------------------------------------


def run(kind: str, **changes: Any) -> dict[str, Any]:
    """Return the JSON of a check suite or of a workflow run of GitHub."""
    suite_or_run = {"head_sha": REVISION, "head_branch": "main", "status": "completed", **changes}
    return {"action": "completed", kind: suite_or_run, "repository": {"id": 1}}


def pipeline(**changes: Any) -> dict[str, Any]:
    """Return the JSON of a pipeline of GitLab."""
    attributes = {"ref": "main", "tag": False, "sha": REVISION, "source": "push", **changes}
    return {"object_kind": "pipeline", "object_attributes": attributes, "project": {"id": 17}}


GITHUB, GITLAB, GITEA = "x-github-event", "x-gitlab-event", "x-gitea-event"
MAIN = ["refs/heads/main"]


@pytest.mark.parametrize(
    ("header", "event", "document", "expected"),
    [
        (GITHUB, "status", status("success"), ("build", "success", MAIN)),
        (GITHUB, "status", status("error"), ("build", "failure", MAIN)),
        (GITEA, "status", status("pending"), ("build", "pending", MAIN)),
        (GITEA, "status", {**status("failure"), "branches": None}, ("build", "failure", [])),
        (GITEA, "status", status("skipped"), ("build", "success", MAIN)),
        (GITEA, "status", status("warning"), ("build", "success", MAIN)),
        (
            GITHUB,
            "check_suite",
            run("check_suite", conclusion="success", app={"name": "CI"}, id=7),
            ("check_suite CI 7", "success", MAIN),
        ),
        (
            GITHUB,
            "check_suite",
            run("check_suite", conclusion="timed_out"),
            ("check_suite", "failure", MAIN),
        ),
        (
            GITHUB,
            "workflow_run",
            run("workflow_run", conclusion="skipped", name="Tests", event="push", workflow_id=9),
            ("workflow_run Tests 9 push", "success", MAIN),
        ),
        (
            GITHUB,
            "workflow_run",
            run("workflow_run", status="in_progress", conclusion=None, name="Tests"),
            ("workflow_run Tests", "pending", MAIN),
        ),
        (
            GITLAB,
            "Pipeline Hook",
            pipeline(status="success"),
            ("pipeline push", "success", MAIN),
        ),
        (GITLAB, "Pipeline Hook", pipeline(status="running"), ("pipeline push", "pending", MAIN)),
        (GITLAB, "Pipeline Hook", pipeline(status="canceled"), ("pipeline push", "failure", MAIN)),
        (
            GITLAB,
            "Pipeline Hook",
            pipeline(status="success", tag=True, ref="v1"),
            ("pipeline push", "success", []),
        ),
    ],
)
def test_the_report_of_each_forge_is_read_as_a_check(
    header: str, event: str, document: dict[str, Any], expected: tuple[str, str, list[str]]
) -> None:
    name = {GITHUB: "github", GITLAB: "gitlab", GITEA: "gitea"}[header]
    read = load_forge(name).read(Delivery({header: event}, b"", document))
    assert (read.kind, read.check is not None) == ("check", True)
    assert read.check is not None
    assert read.check.revision == REVISION
    assert (read.check.context, read.check.state, read.check.refs) == expected


@pytest.mark.parametrize(
    ("header", "event", "document"),
    [
        (GITHUB, "workflow_run", run("workflow_run", event="pull_request", conclusion="success")),
        (GITHUB, "check_suite", {"action": "completed"}),
        (GITLAB, "Pipeline Hook", pipeline(status="success", source="merge_request_event")),
        (GITLAB, "Pipeline Hook", {"object_kind": "pipeline"}),
    ],
)
def test_a_report_that_is_not_about_a_commit_of_a_branch_is_no_check(
    header: str, event: str, document: dict[str, Any]
) -> None:
    name = {GITHUB: "github", GITLAB: "gitlab"}[header]
    assert load_forge(name).read(Delivery({header: event}, b"", document)).kind == "other"


# ---- whole pipeline--------------------------------------------------------------------------


def test_only_the_commit_that_passed_goes_live(app: App, tmp_path: Path) -> None:
    app.configure(webhook_secret=SECRET, on="ci_success")
    app.push("1")
    first = app.upstream.head
    inbox = Inbox(tmp_path / "state")
    inbox.post(push(after=first))
    app.cli("run")
    (waiting,) = app.status["queued"]
    assert (app.live, waiting["reason"]) == (None, f"it waits for the checks of {first}")
    shown = app.cli("status").stdout
    assert f"it waits for the checks of {first[:12]}" in shown
    app.push("2")
    inbox.post(status("success", revision=first), "status")
    app.cli("run")
    assert app.live == "1"
    synced = app.cli.json("sync")
    assert (synced["deployments"], app.live) == ([], "1")
    assert [deployment["status"] for deployment in app.status["queued"]] == ["queued"]
    inbox.post(status("success", revision=app.upstream.head), "status")
    app.cli("run")
    assert app.live == "2"
    inbox.db.close()


def test_a_person_does_not_wait_for_checks(app: App, tmp_path: Path) -> None:
    app.configure(webhook_secret=SECRET, on="ci_success")
    app.push("1")
    inbox = Inbox(tmp_path / "state")
    inbox.post(push(after=app.upstream.head))
    assert app.deploy()["status"] == "succeeded"
    assert [waiting["number"] for waiting in app.status["queued"]] == [1]
    inbox.db.close()
