from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deployctl.notices.compose import compose
from deployctl.values.deployment import Deployment, Failure, StageRecord
from deployctl.values.text import section

NEW, OLD = "3f2a9c1" + "0" * 33, "1a2b3c4" + "0" * 33

DEPLOYED = Deployment(
    number=7,
    repo="blog",
    task="deploy",
    trigger="webhook",
    actor="alice",
    status="succeeded",
    queued_at=100,
    started_at=100,
    finished_at=112.4,
    ref="refs/heads/main",
    revision=NEW,
    previous_revision=OLD,
    subject="Fix the door",
)
FAILED = replace(
    DEPLOYED,
    status="failed",
    failure=Failure(
        stage="build",
        step=2,
        command="npm ci",
        exit_code=127,
        message="step 2 failed: exit code 127: npm: not found",
        tail="one\ntwo\n",
    ),
)

FAILED_CHECK = Failure(stage="healthcheck", message="GET http://a/ answered 500, wanted 2xx")


def test_a_stage_that_was_much_slower_than_usual_is_named() -> None:
    stages = (
        StageRecord("fetch", "succeeded", 100, 1.0, usual=1.0),
        StageRecord("build", "succeeded", 101, 250.0, usual=40.0),
    )
    body = compose(replace(DEPLOYED, stages=stages), recovered=False, host="web1").body
    assert "\nbuild took 4m 10s, usually 40s\n" in body
    assert "fetch" not in body


@pytest.mark.parametrize(
    ("changes", "recovered", "event", "title"),
    [
        ({}, False, "succeeded", "blog: deployed 3f2a9c1"),
        ({}, True, "recovered", "blog: works again (3f2a9c1)"),
        ({"status": "running"}, True, "started", "blog: deployment started (3f2a9c1)"),
        (
            {"status": "failed"},
            True,
            "failed",
            "blog: deployment failed, the old version stays live",
        ),
        (
            {"status": "failed", "previous_revision": None},
            False,
            "failed",
            "blog: deployment failed",
        ),
        ({"status": "rolled_back"}, False, "rolled_back", "blog: rolled back to 1a2b3c4"),
        ({"status": "degraded"}, False, "degraded", "blog: DEGRADED, needs you"),
        ({"task": "rollback"}, False, "succeeded", "blog: rolled back to 3f2a9c1 by alice"),
        ({"task": "rollback"}, True, "recovered", "blog: rolled back to 3f2a9c1 by alice"),
        (
            {"task": "rollback", "status": "failed"},
            False,
            "failed",
            "blog: rollback failed, the old version stays live",
        ),
        ({"status": "cancelled"}, False, "cancelled", "blog: deployment cancelled"),
    ],
)
def test_the_title_tells_the_outcome(
    changes: dict[str, Any], recovered: bool, event: str, title: str
) -> None:
    deployment = replace(DEPLOYED, **changes)
    wording = compose(deployment, recovered=recovered, host="web1")
    assert (wording.event, wording.title) == (event, title)


def test_the_body_names_the_commit_the_actor_and_the_host() -> None:
    assert body(DEPLOYED) == (
        "Fix the door\n"
        "3f2a9c1 on main\n"
        "by alice (webhook), took 12s\n"
        "deployment 7 on web1\n"
        "more: deployctl logs 7"
    )


def test_the_body_of_a_failure_ends_with_the_last_lines() -> None:
    assert body(replace(FAILED, reason="interrupted once, retried")) == (
        "Fix the door\n"
        "3f2a9c1 on main\n"
        "by alice (webhook), took 12s\n"
        "deployment 7 on web1\n"
        "failed in build: npm ci\n"
        "step 2 failed: exit code 127: npm: not found\n"
        "interrupted once, retried\n"
        "more: deployctl logs 7\n"
        "\n"
        "one\n"
        "two"
    )


def test_a_reason_equal_to_the_message_of_the_failure_appears_once() -> None:
    failure = Failure(stage="worker", message="its process died 3 times")
    text = body(replace(FAILED, failure=failure, reason=failure.message))
    assert text.count("its process died 3 times") == 1
    assert "failed in worker\nits process died 3 times\nmore: " in text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"exit_code": 3}, "exit code 3: it broke"),
        ({"signal": "SIGSEGV"}, "killed by SIGSEGV: it broke"),
        ({"timed_out": True, "signal": "SIGKILL"}, "timed out: it broke"),
        ({}, "it broke"),
    ],
)
def test_how_a_step_ended_is_added_unless_the_message_contains_it(
    changes: dict[str, Any], line: str
) -> None:
    failure = Failure(stage="build", message="it broke", host="web2")
    failed = replace(FAILED, failure=replace(failure, **changes))
    assert f"\nfailed in build on web2\n{line}\n" in body(failed)


def test_a_deployment_without_a_revision_gets_a_notice_too() -> None:
    failed = replace(FAILED, revision=None, ref=None, subject=None, started_at=None, failure=None)
    assert body(failed) == ("by alice (webhook)\ndeployment 7 on web1\nmore: deployctl logs 7")


def test_control_characters_are_escaped_and_mentions_of_everybody_are_broken() -> None:
    hostile = replace(
        FAILED,
        subject="Hi @everyone\x1b[2J and <@&42> of a@here.example\ud800",
        failure=Failure(stage="build", message="broken", tail="@channel\r\x07\nme@allow.example"),
    )
    lines = body(hostile).split("\n")
    assert lines[0] == "Hi @\u200beveryone\\x1b[2J and <@\u200b&42> of a@\u200bhere.example\\ud800"
    assert lines[-2:] == ["@\u200bchannel\\x0d\\x07", "me@allow.example"]


def test_only_the_last_fifteen_lines_are_shown() -> None:
    tail = "".join(f"line {number}\n" for number in range(40))
    shown = body(with_tail(tail)).split("\n\n")[1].split("\n")
    assert shown == [f"line {number}" for number in range(25, 40)]


def test_a_long_line_of_output_is_cut_at_its_beginning() -> None:
    shown = body(with_tail("x" * 5000 + "the end")).split("\n\n")[1]
    assert shown == "…" + "x" * 1490 + "the end"


def test_the_beginning_of_a_health_checks_answer_is_shown() -> None:
    failure = Failure(stage="healthcheck", message="broken", tail="the start\n" + "x" * 5000)
    shown = body(replace(FAILED, failure=failure)).split("\n\n")[1]
    assert shown == "the start\n" + "x" * 1487 + "…"


def test_each_section_of_evidence_keeps_its_heading_and_its_beginning_or_its_end() -> None:
    answer = section("first lines of the answer", "<h1>Broken</h1>\n" + "y" * 3000)
    short = section("last lines of /short.log", "one\ntwo")
    log = section("last lines of /long.log", "x" * 9000 + "\nKeyError: 'door'")
    failed = replace(FAILED, failure=replace(FAILED_CHECK, tail=f"{answer}\n{short}\n{log}"))
    whole = body(failed)
    _, *shown = whole.split("\n\n")
    assert shown[0].startswith("first lines of the answer:\n  <h1>Broken</h1>\n  yyy")
    assert shown[0].endswith("yyy…")
    assert shown[1] == "last lines of /short.log:\n  one\n  two"
    assert shown[2].startswith("last lines of /long.log:\n…xxx")
    assert shown[2].endswith("xxx\n  KeyError: 'door'")
    assert 2990 < len(whole.encode()) <= 3000


def test_many_sections_of_evidence_fit_into_the_body() -> None:
    sections = [section(f"last lines of /{'门' * 50}", "x" * 900) for _ in range(40)]
    whole = body(replace(FAILED, failure=replace(FAILED_CHECK, tail="\n".join(sections))))
    assert "more: deployctl logs 7" in whole
    assert len(whole.encode()) < 3100


def test_a_body_made_of_very_long_texts_fits_into_a_push_message() -> None:
    flood = "门\x1b" * 3000
    failure = Failure(stage=flood, message=flood, command=flood, tail=flood)
    whole = body(replace(FAILED, subject=flood, actor=flood, reason=flood, failure=failure))
    assert len(whole.encode()) < 3100
    assert "more: deployctl logs 7\n\n…" in whole


def body(deployment: Deployment) -> str:
    return compose(deployment, recovered=False, host="web1").body


def with_tail(tail: str) -> Deployment:
    return replace(FAILED, failure=Failure(stage="build", message="broken", tail=tail))
