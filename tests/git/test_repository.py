"""Commits are read, and full shas are recognised."""

from __future__ import annotations

import pytest

from deployctl.errors import GitError
from deployctl.git.mirror import Mirror
from deployctl.git.repository import Commit, is_sha
from tests.support.mirrors import MAIN, message_of
from tests.support.upstream import Upstream, git


def test_subject_and_author_of_a_commit_are_read(mirror: Mirror, upstream: Upstream) -> None:
    upstream.commit({}, "Überschrift\n\nand more")
    revision = mirror.fetch(MAIN)
    assert mirror.commit(revision) == Commit(revision, "Überschrift", "Ada Lovelace")


def test_a_commit_message_in_another_encoding_is_decoded(
    mirror: Mirror, upstream: Upstream
) -> None:
    git(upstream.work, "config", "i18n.commitEncoding", "ISO-8859-1")
    (upstream.work.parent / "message").write_bytes(b"caf\xe9\n")
    git(upstream.work, "commit", "-q", "--allow-empty", "-F", "../message")
    upstream.push()
    revision = mirror.fetch(MAIN)
    assert mirror.commit(revision) == Commit(revision, "café", "Ada Lovelace")


def test_a_missing_commit_is_a_git_error(mirror: Mirror) -> None:
    mirror.fetch(MAIN)
    with pytest.raises(GitError, match=f"^cannot read {mirror.directory}: "):
        mirror.commit("1" * 40)
    assert message_of(mirror.resolve, "1" * 40) == (
        f"{'1' * 40} is not a commit of {mirror.repo.url}: it gave no reason"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 40, True),
        ("0" * 64, True),
        ("a" * 39, False),
        ("a" * 41, False),
        ("A" * 40, False),
        ("a" * 40 + "\n", False),
        ("\u0661" * 40, False),
    ],
)
def test_only_a_full_sha_is_recognised_as_one(text: str, expected: bool) -> None:
    assert is_sha(text) is expected
