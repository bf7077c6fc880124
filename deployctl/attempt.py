"""One attempt to carry out a deployment: what it knows, and its beginning and end in the record.

The record is written before each effect (the intent, as ``phase``) and after it (the outcome), so
that whoever comes after a crash knows what was begun.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from deployctl.errors import ConfigError, DeployctlError, StoreError
from deployctl.journal import Journal
from deployctl.notices import outbox
from deployctl.output.screen import Output
from deployctl.releases.prune import make_room
from deployctl.releases.release_config import ReleaseConfig, of_live, old_secrets
from deployctl.releases.site import Site
from deployctl.steps import Surroundings
from deployctl.store import (
    deliveries,
    delivery_records,
    deployments,
    freezes,
    probations,
    releases,
)
from deployctl.store.database import Database
from deployctl.store.freezes import Hold
from deployctl.story import first_line, last_line
from deployctl.system.clock import this_moment
from deployctl.system.environment import step_environment
from deployctl.system.locks import step_note
from deployctl.system.wake import start_worker
from deployctl.values.deployment import IGNORED, Deployment, Failure, Live
from deployctl.values.masking import Masker
from deployctl.values.secret import Secret
from deployctl.values.times import clock_time

_BROKEN = ("failed", "rolled_back", "degraded")


@dataclass(frozen=True)
class Target:
    """The revision that is to go live; ``number`` is the deployment that built (or builds) it."""

    number: int
    revision: str
    name: str | None


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    ``held`` is the revision that a rollback left, ``left`` the number of its release; ``quiet``
    sends no notice.
    """

    status: str
    reason: str | None = None
    failure: Failure | None = None
    held: str | None = None
    left: int | None = None
    phase: str = ""
    quiet: bool = False


class Attempt:
    """A claimed deployment while it runs; the process holds the repo's lock.

    ``trouble`` is what keeps it from beginning: a missing secret, a checkout that git cannot read.
    ``config`` is that of the release which is to go live, from when it is known.
    """

    def __init__(self, site: Site, deployment: Deployment, show: Output) -> None:
        self.site = site
        self.deployment = deployment
        self.marker = marker_of(site.db, deployment)
        self.trouble: DeployctlError | None = None
        self.values = {**self._reveal(), **old_secrets(site)}
        masker = Masker(self.values.values())
        self.journal = Journal(site.db, deployment, masker=masker, show=show)
        self.previous = self._find_live()
        self.target: Target | None = None
        self.config: ReleaseConfig | None = None
        self.phase = deployment.phase

    def _reveal(self) -> Mapping[Secret, str]:
        """Read once: a value that is changed meanwhile would be one that nobody hides."""
        try:
            return {secret: secret.reveal() for secret in self.site.repo.secrets.values()}
        except ConfigError as error:
            self.trouble = error
            return {}

    def _find_live(self) -> Live | None:
        try:
            return self.site.layout.live()
        except DeployctlError as error:
            self.trouble = error
            return None

    def enter(self, phase: str, **columns: str | None) -> None:
        """Write down what is about to be done."""
        self.journal.note(phase=phase, **columns)
        self.phase = phase

    def stopped_by_hand(self) -> None:
        """Whoever watched it pressed Ctrl-C: nothing automatic begins it again."""
        db, number = self.site.db, self.deployment.number
        deployments.mark_to_cancel(db, number, self.deployment.actor)

    def hide_secrets(self) -> None:
        """In what came with the request: the webhook that wrote it down does not know them."""
        db, number, masked = self.site.db, self.deployment.number, self.journal.masked
        actor = masked(self.deployment.actor)
        if actor != self.deployment.actor:
            deployments.note(db, number, actor=actor)
        if self.values and self.deployment.delivery is not None:
            delivery_records.hide(db, self.deployment.delivery, masked)

    def announce(self) -> None:
        """Tell those who want to hear of the beginning; a worker of its own sends it."""
        site = self.site
        if not outbox.subscribers(site.repo, "started"):
            return
        running = _reread(site.db, self.deployment.number)
        with site.db.writing() as connection:
            outbox.enqueue(connection, site.repo, running, recovered=False, now=time.time())
        start_worker(site.config.path, site.config.state_dir, site.config.env_names)

    def need_config(self) -> ReleaseConfig:
        """What the release that is to go live is built and run with."""
        if self.config is None:
            raise LookupError(f"deployment {self.deployment.number} does not know its pipeline yet")
        return self.config

    def need_secrets(self, config: ReleaseConfig) -> None:
        """ConfigError where one that a release was built with cannot be read any more."""
        for secret in config.secrets.values():
            if secret not in self.values:
                secret.reveal()

    def previous_config(self) -> ReleaseConfig:
        """What the release was built with that was live before."""
        live = self.previous or Live(None)
        return of_live(self.site, live.revision, live.release)

    def surroundings(
        self, config: ReleaseConfig, revision: str | None, release: str | None, place: str
    ) -> Surroundings:
        """What steps get that run for a revision in a directory.

        A secret that is gone by now is left out: the command that needs it will say so.
        """
        facts = {
            "REPO": self.site.repo.name,
            "REVISION": revision,
            "PREVIOUS_REVISION": self.previous.revision if self.previous else None,
            "REF": self.deployment.ref,
            "DEPLOYMENT": str(self.deployment.number),
            "TASK": self.deployment.task,
            "TRIGGER": self.deployment.trigger,
            "ACTOR": self.deployment.actor,
            "RELEASE": release,
            "HOST": os.uname().nodename,
        }
        named = {f"DEPLOYCTL_{name}": value or "" for name, value in facts.items()}
        secrets = {
            name: self.values[secret]
            for name, secret in config.secrets.items()
            if secret in self.values
        }
        return Surroundings(
            directory=place,
            env=step_environment(config.env, secrets, named),
            marker=self.marker,
            timeout=self.site.repo.timeout,
            noted=step_note(self.site.config.state_dir, self.site.repo.name),
        )

    def conclude(self, outcome: Outcome) -> Deployment:
        """The outcome, its hold, the state of the releases and the notice: one commit.

        Where a full disk is in the way, what is half made goes before that is written down.
        """
        if outcome.reason is not None:
            outcome = replace(outcome, reason=self.journal.masked(outcome.reason))
        before = deployments.newest_tried(self.site.db, self.site.repo.name)
        recovered = before is not None and (before.status in _BROKEN or before.went_back_by_itself)
        record = partial(self._record, outcome, recovered=recovered, now=time.time())
        try:
            ended = self.site.db.write(record, urgent=True)
        except StoreError:
            make_room(self.site)
            ended = self.site.db.write(record, urgent=True)
        return ended

    def tell_end(self, ended: Deployment) -> None:
        """The last lines, of what is in the record by now."""
        self.journal.line(last_line(ended))
        self._tell_of_probation(ended.number)

    def _tell_of_probation(self, number: int) -> None:
        repo = self.site.repo
        probation = probations.of_repo(self.site.db, repo.name)
        if probation is not None and probation.deployment == number:
            until = clock_time(probation.since.wall + repo.probation, time.time())
            self.journal.line(
                f"{repo.name} #{number}: on probation until {until}; "
                "deployctl run and sync, from cron or a timer, keep checking it"
            )

    def _record(
        self, outcome: Outcome, connection: sqlite3.Connection, *, recovered: bool, now: float
    ) -> Deployment:
        db, repo, number = self.site.db, self.site.repo, self.deployment.number
        deployments.finish(
            connection,
            number,
            status=outcome.status,
            reason=outcome.reason,
            failure=outcome.failure,
            now=now,
            phase=outcome.phase,
        )
        self._judge(connection, outcome, now)
        if outcome.phase == IGNORED and self.deployment.delivery is not None:
            deliveries.ignore(connection, self.deployment.delivery, outcome.reason or "")
        ended = _reread(db, number)
        if not outcome.quiet and outcome.status != "cancelled":
            outbox.enqueue(connection, repo, ended, recovered=recovered, now=now)
        return ended

    def _judge(self, connection: sqlite3.Connection, outcome: Outcome, now: float) -> None:
        """What the outcome says of the releases, and what must not come again by itself."""
        repo, target = self.site.repo.name, self.target
        if target and outcome.status == "succeeded":
            releases.set_state(connection, repo, target.number, "good")
            freezes.lift_hold(connection, repo, target.revision)
            if self._is_to_be_watched():
                probations.begin(connection, repo, self.deployment.number, this_moment())
            else:
                probations.end(connection, repo)
        elif target:
            releases.set_state(connection, repo, target.number, "bad")
        if outcome.left is not None:
            releases.set_state(connection, repo, outcome.left, "left")
        if outcome.held:
            why = f"deployment #{self.deployment.number} rolled back from it"
            freezes.set_hold(connection, repo, Hold(outcome.held, now, why))

    def _is_to_be_watched(self) -> bool:
        """Recovery does not know what a release is checked with: whoever watches it looks."""
        checked = self.config is None or self.config.pipeline.healthcheck is not None
        return checked and self.site.repo.probation > 0

    def close(self) -> None:
        self.journal.close()


@contextmanager
def begin(site: Site, deployment: Deployment, show: Output) -> Iterator[Attempt]:
    """Open the log, find out what is live, and write that down before anything changes."""
    attempt = Attempt(site, deployment, show)
    try:
        attempt.journal.line(first_line(deployment))
        attempt.hide_secrets()
        if attempt.trouble is None:
            previous = attempt.previous or Live(None)
            attempt.enter(
                "building", previous_revision=previous.revision, previous_link=previous.link
            )
        yield attempt
    finally:
        attempt.close()


def marker_of(db: Database, deployment: Deployment) -> str:
    """What every process of this attempt carries in its environment, and no other process."""
    return f"{db.identity}-{deployment.number}-{deployment.attempts}"


def _reread(db: Database, number: int) -> Deployment:
    found = deployments.get(db, number)
    if found is None:
        raise LookupError(f"deployment {number} vanished from the record")
    return found
