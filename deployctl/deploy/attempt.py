"""The state of one attempt to execute a deployment, while it runs.

The record is written before each effect (``phase`` says what is about to be done) and after it
(the outcome), so that recovery after a crash knows what was begun.
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
from deployctl.releases.choose import find_release
from deployctl.releases.release_config import ReleaseConfig, config_of_live, secrets_of_releases
from deployctl.releases.site import Site
from deployctl.store import (
    delivery_records,
    deployments,
)
from deployctl.store.database import Database
from deployctl.system.environment import step_environment
from deployctl.system.locks import step_note_path
from deployctl.system.wake import start_worker
from deployctl.values.deployment import Deployment, Failure, Live
from deployctl.values.masking import Masker
from deployctl.values.secret import Secret


@dataclass(frozen=True)
class Target:
    """The release that will go live.

    ``number`` is the number of the deployment that built or builds it. ``revision`` is a full sha.
    ``name`` is the name of its directory below ``releases/``, None with the strategy ``in_place``.
    """

    number: int
    revision: str
    name: str | None


@dataclass(frozen=True)
class Outcome:
    """The way an attempt ended.

    ``status`` is one of values.deployment.FINISHED. ``phase`` is recorded with it and is more
    precise: REFUSED, UNCHANGED, IGNORED, LEFT_LIVE, or empty. ``revision_to_hold`` is the full sha
    of the revision to hold, None to hold nothing. ``left_release`` is the number of the release
    that a rollback left: its state becomes "left" instead of "good"; None if no release changes its
    state so. If ``quiet`` is true, no notice is sent.
    """

    status: str
    reason: str | None = None
    failure: Failure | None = None
    revision_to_hold: str | None = None
    left_release: int | None = None
    phase: str = ""
    quiet: bool = False


class Attempt:
    """A claimed deployment while it runs; the process holds the repo's lock file.

    ``previous`` is what was live when it began (None: nothing). ``target`` is the release that
    this attempt builds, or that it made live; None before that. ``config`` is the configuration of
    the release that will go live, None until it is known. ``start_error`` is an error because of
    which the attempt cannot begin, such as a missing secret or a checkout that git cannot read.
    ``marker`` is in the environment of every process that the attempt starts (:func:`marker_of`).
    ``values`` maps each secret of the repo, and of its releases on disk, to its value.
    """

    def __init__(self, site: Site, deployment: Deployment, output: Output) -> None:
        self.site = site
        self.deployment = deployment
        self.marker = marker_of(site.db, deployment)
        self.start_error: DeployctlError | None = None
        self.values = {**self._reveal_secrets(), **secrets_of_releases(site)}
        masker = Masker(self.values.values())
        self.journal = Journal(site.db, deployment, masker=masker, output=output)
        self.previous = self._read_live()
        self.target: Target | None = None
        self.config: ReleaseConfig | None = None
        self.phase = deployment.phase

    def _reveal_secrets(self) -> Mapping[Secret, str]:
        """Return the values of the repo's secrets.

        They are read once for the whole attempt: a value that changed later would not be masked.
        """
        try:
            return {secret: secret.reveal() for secret in self.site.repo.secrets.values()}
        except ConfigError as error:
            self.start_error = error
            return {}

    def _read_live(self) -> Live | None:
        try:
            return self.site.layout.live()
        except DeployctlError as error:
            self.start_error = error
            return None

    def enter(self, phase: str, **columns: str | None) -> None:
        """Record the phase that begins now ("building", "switching"), with other columns.

        ``columns`` are columns of the table ``deployments``. Recovery reads the phase after a
        crash, to know what must be undone.
        """
        self.journal.note(phase=phase, **columns)
        self.phase = phase

    @property
    def previous_is_bad(self) -> bool:
        """Tell whether what was live before is known to be not well: it failed its own check."""
        live = self.previous
        found = find_release(self.site, live.revision, live.release) if live else None
        return found is not None and found.state == "bad"

    def mark_stopped(self) -> None:
        """Record that a person pressed Ctrl-C, so that sync does not deploy the revision again."""
        db, number = self.site.db, self.deployment.number
        deployments.record_cancelled_by(db, number, self.deployment.actor)

    def hide_secrets(self) -> None:
        """Mask secrets in the recorded actor and delivery.

        The webhook that recorded them cannot do it: it does not read the repo's secrets.
        """
        db, number, masked = self.site.db, self.deployment.number, self.journal.masked
        actor = masked(self.deployment.actor)
        if actor != self.deployment.actor:
            deployments.update_columns(db, number, actor=actor)
        if self.values and self.deployment.delivery is not None:
            delivery_records.mask_texts(db, self.deployment.delivery, masked)

    def queue_started_notice(self) -> None:
        """Queue the notice that the deployment started, if a channel wants it.

        Another worker is started to send it, as this process is busy with the deployment.
        """
        site = self.site
        if not outbox.subscribers(site.repo, "started"):
            return
        running = reread(site.db, self.deployment.number)
        with site.db.writing() as connection:
            outbox.enqueue(connection, site.repo, running, recovered=False, now=time.time())
        start_worker(site.config.path, site.config.state_dir, site.config.env_names)

    def need_config(self) -> ReleaseConfig:
        """Return the configuration of the release that will go live; LookupError if unknown."""
        if self.config is None:
            raise LookupError(f"deployment {self.deployment.number} does not know its pipeline yet")
        return self.config

    def need_secrets(self, config: ReleaseConfig) -> None:
        """Raise ConfigError if a secret that ``config`` names cannot be read.

        The error names the variable or file. Values that this attempt already knows are not read
        again.
        """
        for secret in config.secrets.values():
            if secret not in self.values:
                secret.reveal()

    def previous_config(self) -> ReleaseConfig:
        """Return the configuration of the release that was live when the attempt began."""
        live = self.previous or Live(None)
        return config_of_live(self.site, live.revision, live.release)

    def step_context(
        self,
        config: ReleaseConfig,
        revision: str | None,
        release: str | None,
        directory: str,
        *,
        going_back: bool = False,
    ) -> StageContext:
        """Return the context of the steps of a stage: directory, environment, marker, time limit.

        ``revision`` is a full sha and ``release`` the name of its directory, each None if unknown;
        they become DEPLOYCTL_REVISION and DEPLOYCTL_RELEASE. DEPLOYCTL_PREVIOUS_REVISION is what
        was live before or, with ``going_back``, what failed and is left. The steps run in
        ``directory``, an absolute path. The time limit is the repo's ``timeout`` in seconds, for
        each step. A secret whose value is not known is left out of the environment; no error is
        raised, as the command that needs it fails and says so.
        """
        before = self.previous.revision if self.previous else None
        named = {
            **self._variables(),
            "DEPLOYCTL_REVISION": revision or "",
            "DEPLOYCTL_PREVIOUS_REVISION": (self._left_revision if going_back else before) or "",
            "DEPLOYCTL_RELEASE": release or "",
        }
        secrets = {
            name: self.values[secret]
            for name, secret in config.secrets.items()
            if secret in self.values
        }
        return StageContext(
            directory=directory,
            env=step_environment(config.env, secrets, named),
            marker=self.marker,
            timeout=self.site.repo.timeout,
            note_path=step_note_path(self.site.config.state_dir, self.site.repo.name),
        )

    def _variables(self) -> dict[str, str]:
        """Return the variables of the steps that are the same in all stages."""
        facts = {
            "REPO": self.site.repo.name,
            "REF": self.deployment.ref,
            "DEPLOYMENT": str(self.deployment.number),
            "TASK": self.deployment.task,
            "TRIGGER": self.deployment.trigger,
            "ACTOR": self.deployment.actor,
            "HOST": os.uname().nodename,
        }
        return {f"DEPLOYCTL_{name}": value or "" for name, value in facts.items()}

    @property
    def _left_revision(self) -> str | None:
        """The revision that this attempt tries, or tried, to make live."""
        return self.target.revision if self.target else self.deployment.revision

    def close(self) -> None:
        self.journal.close()


@contextmanager
def begin(site: Site, deployment: Deployment, output: Output) -> Iterator[Attempt]:
    """Open the log of a deployment and record what is live, before anything changes.

    The log is closed when the block ends.
    """
    attempt = Attempt(site, deployment, output)
    try:
        attempt.journal.line(first_line(deployment))
        attempt.hide_secrets()
        if attempt.start_error is None:
            previous = attempt.previous or Live(None)
            attempt.enter(
                "building", previous_revision=previous.revision, previous_link=previous.link
            )
        yield attempt
    finally:
        attempt.close()


def marker_of(db: Database, deployment: Deployment) -> str:
    """Return the marker of the current attempt at a deployment.

    All processes of this attempt have it in their environment, and no other process has it.
    """
    return f"{db.identity}-{deployment.number}-{deployment.attempts}"


def reread(db: Database, number: int) -> Deployment:
    """Return the deployment as it is in the record now; LookupError if it is not there."""
    found = deployments.get(db, number)
    if found is None:
        raise LookupError(f"deployment {number} vanished from the record")
    return found
