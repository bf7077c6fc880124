"""One attempt to execute a deployment: what is known of it while it runs.

The record is written before each effect (the intent, as ``phase``) and after it (the outcome), so
that recovery after a crash knows what was begun.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from deployctl.deploy.journal import Journal, first_line
from deployctl.deploy.steps import StageContext
from deployctl.errors import ConfigError, DeployctlError
from deployctl.notices import outbox
from deployctl.output.screen import Output
from deployctl.releases.release_config import ReleaseConfig, config_of_live, old_secrets
from deployctl.releases.site import Site
from deployctl.store import (
    delivery_records,
    deployments,
)
from deployctl.store.database import Database
from deployctl.system.environment import step_environment
from deployctl.system.locks import step_note
from deployctl.system.wake import start_worker
from deployctl.values.deployment import Deployment, Failure, Live
from deployctl.values.masking import Masker
from deployctl.values.secret import Secret


@dataclass(frozen=True)
class Target:
    """The release that is to go live.

    ``number`` is that of the deployment that built or builds it, ``name`` its directory below
    ``releases/`` (None in place).
    """

    number: int
    revision: str
    name: str | None


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    ``status`` is one of values.deployment.FINISHED, ``phase`` is recorded with it where it tells
    more (REFUSED, UNCHANGED, IGNORED). ``held`` is the whole sha of the revision to hold, None to
    hold nothing; ``left`` is the number of the release that was rolled back from, which is then no
    longer good, None where no release was left. ``quiet`` sends no notice.
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

    ``previous`` is what was live when it began, ``target`` the release that is being built.
    ``config`` is that of the release which is to go live, from when it is known. ``trouble`` is an
    error that keeps it from beginning: a missing secret, a checkout that git cannot read.
    """

    def __init__(self, site: Site, deployment: Deployment, output: Output) -> None:
        self.site = site
        self.deployment = deployment
        self.marker = marker_of(site.db, deployment)
        self.trouble: DeployctlError | None = None
        self.values = {**self._reveal(), **old_secrets(site)}
        masker = Masker(self.values.values())
        self.journal = Journal(site.db, deployment, masker=masker, output=output)
        self.previous = self._find_live()
        self.target: Target | None = None
        self.config: ReleaseConfig | None = None
        self.phase = deployment.phase

    def _reveal(self) -> Mapping[Secret, str]:
        """Read the secrets once: a value that changed meanwhile would not be masked."""
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
        """Record what is about to be done."""
        self.journal.note(phase=phase, **columns)
        self.phase = phase

    def mark_stopped(self) -> None:
        """Record that a person pressed Ctrl-C, so that nothing automatic starts it again."""
        db, number = self.site.db, self.deployment.number
        deployments.mark_to_cancel(db, number, self.deployment.actor)

    def hide_secrets(self) -> None:
        """Mask secrets in the recorded request: the webhook that recorded it does not know them."""
        db, number, masked = self.site.db, self.deployment.number, self.journal.masked
        actor = masked(self.deployment.actor)
        if actor != self.deployment.actor:
            deployments.note(db, number, actor=actor)
        if self.values and self.deployment.delivery is not None:
            delivery_records.hide(db, self.deployment.delivery, masked)

    def announce(self) -> None:
        """Queue the notice that the deployment started; another worker sends it meanwhile."""
        site = self.site
        if not outbox.subscribers(site.repo, "started"):
            return
        running = reread(site.db, self.deployment.number)
        with site.db.writing() as connection:
            outbox.enqueue(connection, site.repo, running, recovered=False, now=time.time())
        start_worker(site.config.path, site.config.state_dir, site.config.env_names)

    def need_config(self) -> ReleaseConfig:
        """Return what the release that is to go live is built and run with."""
        if self.config is None:
            raise LookupError(f"deployment {self.deployment.number} does not know its pipeline yet")
        return self.config

    def need_secrets(self, config: ReleaseConfig) -> None:
        """Check that every secret which ``config`` names can be read.

        Values that this attempt knows already are not read again. Raises ConfigError that names
        the variable or file otherwise.
        """
        for secret in config.secrets.values():
            if secret not in self.values:
                secret.reveal()

    def previous_config(self) -> ReleaseConfig:
        """Return what the release that was live before was built with."""
        live = self.previous or Live(None)
        return config_of_live(self.site, live.revision, live.release)

    def step_context(
        self, config: ReleaseConfig, revision: str | None, release: str | None, place: str
    ) -> StageContext:
        """Return what the steps of a stage get: directory, environment, marker, time limit.

        ``revision`` is a whole sha and ``release`` the name of its directory, each None where it
        is not known; the steps run in ``place``, an absolute path. A secret that cannot be read by
        now is left out of the environment: the command that needs it will fail and say so.
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
        return StageContext(
            directory=place,
            env=step_environment(config.env, secrets, named),
            marker=self.marker,
            timeout=self.site.repo.timeout,
            noted=step_note(self.site.config.state_dir, self.site.repo.name),
        )

    def close(self) -> None:
        self.journal.close()


@contextmanager
def begin(site: Site, deployment: Deployment, output: Output) -> Iterator[Attempt]:
    """Open the log and record what is live, before anything changes."""
    attempt = Attempt(site, deployment, output)
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
    """Return the mark that every process of this attempt, and no other, has in its environment."""
    return f"{db.identity}-{deployment.number}-{deployment.attempts}"


def reread(db: Database, number: int) -> Deployment:
    """Return the deployment as the record has it now; it must be there."""
    found = deployments.get(db, number)
    if found is None:
        raise LookupError(f"deployment {number} vanished from the record")
    return found
