"""The releases that a rollback can go back to, its default, and the releases to remove."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployctl.deploy.journal import Journal
from deployctl.deploy.request import request_rollback
from deployctl.errors import LayoutError, RefusedError, UsageError
from deployctl.output.screen import Output
from deployctl.releases.choose import default_rollback_target, rollback_candidates, rollback_target
from deployctl.releases.prune import prune, surplus
from deployctl.releases.site import Site, open_site
from deployctl.store import deployments, queue, releases
from deployctl.store.database import Database
from deployctl.values.deployment import Origin
from deployctl.values.masking import Masker
from deployctl.values.repo import Config, Repo
from tests.support.upstream import Upstream


class History:
    """The releases of a repo, in the record and on disk, as deployments would have left them.

    A revision is called by a hexadecimal digit: its sha is that digit 40 times, if
    ``revisions`` has no other sha for it.
    """

    def __init__(self, site: Site, revisions: dict[str, str] | None = None) -> None:
        self.site = site
        self.in_place = site.repo.strategy == "in_place"
        self.revisions = revisions or {}

    def deployed(self, digit: str, state: str = "good", *, live: bool = True) -> int:
        """Add a deployment that built a revision; return its number."""
        db, repo, revision = self.site.db, self.site.repo.name, self.revision(digit)
        with db.writing() as connection:
            number = queue.enqueue(connection, repo=repo, trigger="cli", actor="ada", now=1.0)
        name = None if self.in_place else f"{number}-{revision[:12]}"
        deployments.claim(db, number, "me", 2.0)
        deployments.update_columns(db, number, revision=revision, release=name)
        with db.writing() as connection:
            status = "succeeded" if live else "failed"
            deployments.finish(
                connection, number, status=status, reason=None, failure=None, now=3.0
            )
            releases.begin(connection, repo, number, name, revision)
            releases.set_state(connection, repo, number, state)
        self._put_on_disk(number, name, revision, live=live)
        return number

    def rolled_back_to(self, number: int, *, left: int) -> int:
        """Add a rollback from the release ``left`` to another one; return the rollback's number."""
        db, repo = self.site.db, self.site.repo.name
        record = next(release for release in self.known() if release.number == number)
        with db.writing() as connection:
            releases.set_state(connection, repo, left, "left")
            rollback = queue.enqueue(
                connection,
                repo=repo,
                trigger="cli",
                actor="ada",
                now=1.0,
                order=queue.Order.rollback(),
            )
            deployments.finish(
                connection, rollback, status="succeeded", reason=None, failure=None, now=3.0
            )
        deployments.update_columns(db, rollback, revision=record.revision, release=record.name)
        self.site.layout.switch(rollback, record.revision, record.name)
        return rollback

    def revision(self, digit: str) -> str:
        return self.revisions.get(digit, digit * 40)

    def known(self) -> list[releases.ReleaseRecord]:
        return releases.of_repo(self.site.db, self.site.repo.name)

    def candidates(self) -> list[int]:
        return [release.number for release in rollback_candidates(self.site)]

    def default(self) -> int | None:
        target = default_rollback_target(self.site, self.known())
        return target.number if target else None

    def surplus(self) -> list[int]:
        return sorted(release.number for release in surplus(self.site))

    def _put_on_disk(self, number: int, name: str | None, revision: str, *, live: bool) -> None:
        if self.in_place:
            if live:
                self.site.layout.prepare(number, revision, None)
            return
        directory = Path(self.site.layout.directory(name))
        directory.mkdir(parents=True)
        (directory / "REVISION").write_text(f"{revision}\n")
        (directory / ".complete").touch()
        if live:
            self.site.layout.switch(number, revision, name)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(str(tmp_path / "state")) as database:
        yield database


def site_of(db: Database, repo: Repo) -> Site:
    return open_site(Config("/etc/repos.yml", db.state_dir, {repo.name: repo}), db, repo.name)


@pytest.fixture
def history(tmp_path: Path, db: Database) -> History:
    path = str(tmp_path / "blog")
    return History(site_of(db, Repo("blog", "/nowhere.git", path, keep_releases=3)))


@pytest.fixture
def in_place(tmp_path: Path, db: Database, upstream: Upstream) -> History:
    revisions = {digit: upstream.commit({"README": digit}) for digit in "abcdef"}
    path = str(tmp_path / "blog")
    repo = Repo("blog", upstream.url, path, strategy="in_place", keep_releases=3)
    site = site_of(db, repo)
    site.mirror.fetch("refs/heads/main")
    return History(site, revisions)


# candidates and the default


def test_without_a_history_a_rollback_is_refused(history: History) -> None:
    assert (history.candidates(), history.default(), history.surplus()) == ([], None, [])
    with pytest.raises(RefusedError) as caught:
        rollback_target(history.site, None)
    assert str(caught.value) == (
        "blog has no earlier good release to roll back to; see: deployctl rollback blog --list"
    )


def test_the_default_is_the_good_release_before_the_live_one(history: History) -> None:
    a, b, c = (history.deployed(digit) for digit in "abc")
    assert history.candidates() == [b, a]
    assert history.default() == b
    assert rollback_target(history.site, None).number == b
    history.rolled_back_to(b, left=c)
    assert history.default() == a


def test_a_failed_release_is_no_candidate(history: History) -> None:
    good, live = history.deployed("a"), history.deployed("b")
    history.deployed("c", "bad", live=False)
    history.deployed("d", "building", live=False)
    assert history.candidates() == [good]
    assert live != history.default() == good


def test_a_release_that_was_rolled_back_from_is_a_candidate_but_not_the_default(
    history: History,
) -> None:
    a, b, c = (history.deployed(digit) for digit in "abc")
    history.rolled_back_to(b, left=c)
    d = history.deployed("d")
    assert history.candidates() == [c, b, a]
    assert history.default() == b
    assert rollback_target(history.site, str(c)).number == c
    assert d not in history.candidates()


def test_an_incomplete_release_is_no_candidate(history: History) -> None:
    a, b, _ = (history.deployed(digit) for digit in "abc")
    Path(history.site.layout.directory(f"{b}-{'b' * 12}"), ".complete").unlink()
    assert history.candidates() == [a]
    assert history.default() == a


def test_the_same_revision_built_twice_is_two_releases(history: History) -> None:
    first, second = history.deployed("a"), history.deployed("a")
    assert second != first
    assert history.candidates() == [first]


def test_another_revision_is_preferred_to_another_release_of_the_live_one(
    history: History,
) -> None:
    a, _, c = (history.deployed(digit) for digit in "abc")
    rebuilt = history.deployed("c")
    assert history.default() == c - 1
    history.rolled_back_to(a, left=rebuilt)
    assert history.default() is None


def test_an_older_release_of_the_live_revision_is_the_default_if_there_is_no_other(
    history: History,
) -> None:
    first, second, third = (history.deployed("a") for _ in range(3))
    assert history.default() == second
    history.rolled_back_to(second, left=third)
    assert history.default() == first


def test_an_older_release_of_a_revision_that_was_rolled_back_from_is_not_the_default(
    history: History,
) -> None:
    a, b, rebuilt = (history.deployed(digit) for digit in "abb")
    history.rolled_back_to(a, left=rebuilt)
    history.deployed("c")
    assert history.default() == a
    history.deployed("b")
    history.deployed("d")
    assert history.default() == rebuilt + 3, "it was good again"
    assert b in history.candidates()


def test_the_newest_good_release_is_the_default_where_current_was_changed_by_hand(
    tmp_path: Path, history: History
) -> None:
    a, b = history.deployed("a"), history.deployed("b")
    (tmp_path / "elsewhere").mkdir()
    os.unlink(history.site.layout.live_directory())
    os.symlink("../elsewhere", history.site.layout.live_directory())
    assert history.candidates() == [b, a]
    assert history.default() == b


# naming a release


def test_a_target_is_named_by_its_number_or_its_sha(history: History) -> None:
    a, b, _ = (history.deployed(digit) for digit in "abc")
    names = {str(a): a, f"#{b}": b, "aaaa": a, "B" * 7: b, "a" * 40: a}
    for name, number in names.items():
        assert rollback_target(history.site, name).number == number


def test_the_number_of_a_rollback_names_the_release_that_it_made_live(history: History) -> None:
    a, b, c = (history.deployed(digit) for digit in "abc")
    back = history.rolled_back_to(a, left=c)
    history.deployed("d")
    assert rollback_target(history.site, str(back)).number == a
    assert rollback_target(history.site, str(b)).number == b


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("failed", ""),
        ("rolled_back", ""),
        ("cancelled", ""),
        ("succeeded", "unchanged"),
        ("succeeded", "ignored"),
    ],
)
def test_the_number_of_a_deployment_that_made_nothing_live_is_refused(
    history: History, status: str, phase: str
) -> None:
    history.deployed("a")
    with history.site.db.writing() as connection:
        number = queue.enqueue(connection, repo="blog", trigger="cli", actor="ada", now=1.0)
        deployments.finish(
            connection, number, status=status, reason=None, failure=None, now=3.0, phase=phase
        )
    deployments.update_columns(history.site.db, number, revision="c" * 40)
    for name in (str(number), "c" * 40):
        with pytest.raises(RefusedError):
            rollback_target(history.site, name)


@pytest.mark.parametrize("name", ["99", "ffff", "aaa", "c" * 40, ""])
def test_an_unknown_number_or_sha_is_refused(history: History, name: str) -> None:
    for digit in "abc":
        history.deployed(digit)
    with pytest.raises(RefusedError) as caught:
        rollback_target(history.site, name)
    assert str(caught.value) == (
        f"blog has no release {name} to roll back to; see: deployctl rollback blog --list"
    )


def test_the_beginning_of_several_shas_is_refused(history: History) -> None:
    history.revisions = {"a": "abcd1" + "0" * 35, "b": "abcd2" + "0" * 35}
    for digit in "abc":
        history.deployed(digit)
    with pytest.raises(UsageError) as caught:
        rollback_target(history.site, "abcd")
    assert str(caught.value) == (
        "abcd is the beginning of several releases' shas: write more of it"
    )
    assert rollback_target(history.site, "abcd2").revision == "abcd2" + "0" * 35


REQUEST = Origin(actor="ada", trigger="cli", now=5.0)


@pytest.mark.parametrize("to", [None, "1", "aaaa"])
def test_a_requested_rollback_is_queued_with_its_target_as_written(
    history: History, to: str | None
) -> None:
    history.deployed("a")
    history.deployed("b")
    queued = deployments.get(history.site.db, request_rollback(history.site, to, REQUEST))
    assert queued is not None
    assert (queued.task, queued.status, queued.rollback_to) == ("rollback", "queued", to)
    assert (queued.revision, queued.wanted_revision, queued.release) == (None, None, None)


def test_a_request_for_an_unknown_release_is_refused_unless_a_deployment_runs(
    history: History,
) -> None:
    history.deployed("a")
    with history.site.db.writing() as connection:
        number = queue.enqueue(connection, repo="blog", trigger="cli", actor="ada", now=4.0)
    for to in (None, "7"):
        with pytest.raises(RefusedError):
            request_rollback(history.site, to, REQUEST)
    assert [queued.number for queued in deployments.queued(history.site.db, "blog")] == [number]
    deployments.claim(history.site.db, number, "me", 5.0)
    for to in (None, "7"):
        request_rollback(history.site, to, REQUEST)
        assert deployments.queued(history.site.db, "blog")[0].rollback_to == to


# pruning


def test_keep_releases_good_releases_are_kept(history: History) -> None:
    numbers = [history.deployed(digit) for digit in "abcdef"]
    assert history.surplus() == numbers[:3]


def test_failed_releases_are_surplus_and_do_not_count_as_kept(history: History) -> None:
    good = [history.deployed(digit) for digit in "ab"]
    bad = [history.deployed(digit, "bad", live=False) for digit in "cdef"]
    assert history.surplus() == bad
    assert good[0] in history.candidates()


@pytest.mark.parametrize("keep", [1, 2])
def test_the_live_release_and_the_one_before_it_are_never_removed(
    tmp_path: Path, db: Database, keep: int
) -> None:
    repo = Repo("blog", "/nowhere.git", str(tmp_path / "blog"), keep_releases=keep)
    history = History(site_of(db, repo))
    a, b, c, d, e = (history.deployed(digit) for digit in "abcde")
    assert history.surplus() == [a, b, c]
    history.rolled_back_to(b, left=e)
    assert {a, b}.isdisjoint(history.surplus())
    assert d not in history.surplus()
    assert history.default() == a


def test_a_release_that_was_rolled_back_from_does_not_count_as_kept(history: History) -> None:
    a, b, c, d = (history.deployed(digit) for digit in "abcd")
    history.rolled_back_to(c, left=d)
    assert history.surplus() == []
    e, f = (history.deployed(digit) for digit in "ef")
    assert history.surplus() == [a, b]
    history.deployed("0")
    assert history.surplus() == [a, b, c, d]
    assert {e, f}.isdisjoint(history.surplus())


def test_a_failed_release_that_is_live_is_not_surplus(history: History) -> None:
    history.deployed("a")
    bad = history.deployed("b", "bad")
    assert bad not in history.surplus()


def test_pruning_removes_from_the_disk_and_from_the_record(history: History) -> None:
    numbers = [history.deployed(digit) for digit in "abcdef"]
    prune(history.site, journal_of(history, numbers[-1]))
    assert [release.number for release in history.known()] == numbers[:2:-1]
    left = os.listdir(history.site.layout.directory(None))
    assert sorted(left) == [
        f"{n}-{digit * 12}" for n, digit in zip(numbers[3:], "def", strict=True)
    ]


def test_a_release_that_cannot_be_removed_is_a_warning_and_tried_again(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [history.deployed(digit) for digit in "abcde"]

    def refuse(number: int, name: str | None) -> None:
        raise LayoutError(f"cannot remove {name}")

    with monkeypatch.context() as patch:
        patch.setattr(history.site.layout, "discard", refuse)
        prune(history.site, journal_of(history, numbers[-1]))
    log = Path(history.site.db.state_dir, "logs", f"{numbers[-1]}.log").read_text()
    assert log.splitlines() == [
        f"warning: cannot remove {numbers[1]}-{'b' * 12}",
        f"warning: cannot remove {numbers[0]}-{'a' * 12}",
    ]
    assert history.surplus() == numbers[:2]
    prune(history.site, journal_of(history, numbers[-1]))
    assert history.surplus() == []


def journal_of(history: History, number: int) -> Journal:
    deployment = deployments.get(history.site.db, number)
    assert deployment is not None
    return Journal(history.site.db, deployment, masker=Masker([]), output=Output())


# in place


def test_in_place_a_revision_counts_once(in_place: History) -> None:
    a, b, rebuilt, c = (in_place.deployed(digit) for digit in "abac")
    assert in_place.candidates() == [rebuilt, b]
    assert in_place.default() == rebuilt
    assert in_place.surplus() == [a]
    d = in_place.deployed("d")
    assert in_place.candidates() == [c, rebuilt, b]
    assert in_place.surplus() == [a, b]
    assert d not in in_place.candidates()


def test_in_place_every_number_of_a_revision_names_that_revision(in_place: History) -> None:
    a, b, rebuilt, c = (in_place.deployed(digit) for digit in "abac")
    for number in (a, rebuilt):
        assert rollback_target(in_place.site, str(number)).revision == in_place.revision("a")
    back = in_place.rolled_back_to(b, left=c)
    with pytest.raises(RefusedError):
        rollback_target(in_place.site, str(back))


def test_in_place_the_live_revision_is_no_candidate_however_often_it_was_deployed(
    in_place: History,
) -> None:
    a = in_place.deployed("a")
    for _ in range(3):
        in_place.deployed("b")
    assert in_place.candidates() == [a]


def test_in_place_an_older_record_of_a_revision_that_was_rolled_back_from_is_no_default(
    in_place: History,
) -> None:
    in_place.deployed("c")
    in_place.deployed("a")
    b, rebuilt = in_place.deployed("b"), in_place.deployed("a")
    in_place.rolled_back_to(b, left=rebuilt)
    target = default_rollback_target(in_place.site, in_place.known())
    assert target is not None
    assert target.revision == in_place.revision("c")


def test_in_place_a_revision_stays_a_candidate_after_a_failed_second_attempt(
    in_place: History,
) -> None:
    a = in_place.deployed("a")
    in_place.deployed("a", "bad", live=False)
    in_place.deployed("b")
    assert in_place.candidates() == [a]


def test_in_place_a_pruned_revision_is_no_candidate(in_place: History) -> None:
    numbers = [in_place.deployed(digit) for digit in "abcdef"]
    prune(in_place.site, journal_of(in_place, numbers[-1]))
    assert in_place.candidates() == numbers[4:2:-1]
