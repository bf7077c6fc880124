"""Deployments as values: a deployment with its stages, steps and failure, and what is live."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from deployctl.values.times import iso

FINISHED = ("succeeded", "failed", "rolled_back", "degraded", "superseded", "cancelled")

# The phase of a deployment that deployctl refused, as its revision is held or not reachable from
# the branch, or as there is no release to go back to; its status is ``cancelled``.
REFUSED = "refused"
# The phase of a deployment that found its revision live already; its status is ``succeeded``.
UNCHANGED = "unchanged"
# The phase of a deployment whose commit is not to be deployed automatically, such as one that says
# [skip deploy]; its status is ``succeeded``. ``deployctl sync`` does not queue that commit again.
IGNORED = "ignored"
# The phase of a deployment that failed after its switch, with nothing to go back to: its release
# stays live. Its status is ``failed``.
LEFT_LIVE = "left live"
# The phases of deployments that succeeded without making anything live.
PHASES_WITHOUT_EFFECT = (UNCHANGED, IGNORED)

# The exit code of a command that waited for a deployment, by the deployment's status.
EXIT_CODES = {
    "succeeded": 0,
    "failed": 1,
    "rolled_back": 3,
    "degraded": 4,
    "superseded": 1,
    "cancelled": 1,
}

# A stage is slow if it took at least _SLOW_FACTOR times its usual duration, and at least
# _SLOW_SECONDS longer than that duration.
_SLOW_FACTOR = 3
_SLOW_SECONDS = 10

_FULL_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """The origin of a request for a deployment: who asked, by which way, and when.

    ``trigger`` is ``webhook``, ``cli``, ``ssh``, ``cron`` or ``auto``; ``now`` is in seconds since
    the epoch.
    """

    actor: str
    trigger: str
    now: float


@dataclass(frozen=True)
class Live:
    """The live state of a repo: the revision, and the name of its release's directory.

    ``release`` is None in place. ``link`` is the unchanged target of the symlink ``current``, so
    that it can be restored even if a person or another program made it.
    """

    revision: str | None
    release: str | None = None
    link: str | None = None


# The stages that check a URL unless they have a command.
_HEALTH_CHECK_STAGES = ("healthcheck", "rollback healthcheck", "probation")


@dataclass(frozen=True)
class Failure:
    """The failure of a deployment: the stage and step, the error, and the last lines of output.

    ``step`` is the position in the stage, from 1; None if it was no single step.
    ``exit_code`` is None if a signal ended it, and ``signal`` is None if none did. ``command`` is
    None if no command failed, but for example a URL.
    """

    stage: str
    message: str
    step: int | None = None
    command: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    host: str | None = None
    tail: str = ""

    @property
    def tail_is_url_answer(self) -> bool:
        """Tell whether ``tail`` is the beginning of a URL's answer, not the end of an output."""
        return self.stage in _HEALTH_CHECK_STAGES and self.command is None

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "step": self.step,
            "command": self.command,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "timed_out": self.timed_out,
            "host": self.host,
            "message": self.message,
            "tail": self.tail,
        }


@dataclass(frozen=True)
class StepRecord:
    """A step that ran: its command, exit code and duration in seconds.

    ``exit_code`` is None if a signal ended it. ``log_start`` and ``log_end`` are offsets in the log
    file, in bytes; None for a step that an older version of deployctl has recorded.
    """

    command: str
    exit_code: int | None
    duration: float | None
    log_start: int | None = None
    log_end: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"command": self.command, "exit_code": self.exit_code, "duration": self.duration}


@dataclass(frozen=True)
class StageRecord:
    """A stage of a deployment; ``status`` is running, succeeded, failed, cancelled or skipped.

    ``started_at`` is in seconds since the epoch, ``duration`` in seconds. ``usual`` is the median
    of its earlier durations, None if it did not run often enough. ``log_start`` and ``log_end`` are
    offsets in the log file, in bytes.
    """

    name: str
    status: str
    started_at: float
    duration: float | None = None
    host: str | None = None
    log_start: int = 0
    log_end: int | None = None
    steps: tuple[StepRecord, ...] = ()
    usual: float | None = None

    @property
    def word(self) -> str:
        """The status as it is shown to people."""
        return "ok" if self.status == "succeeded" else self.status

    @property
    def slow(self) -> bool:
        """Tell whether it took so much longer than usual that people should be told."""
        if self.usual is None or self.duration is None:
            return False
        return self.duration >= max(_SLOW_FACTOR * self.usual, self.usual + _SLOW_SECONDS)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status,
            "started_at": iso(self.started_at),
            "duration": self.duration,
            "usual": self.usual,
            "host": self.host,
            "steps": [step.to_json() for step in self.steps],
        }


@dataclass(frozen=True)
class Deployment:
    """A queued, running or finished deployment, as the record keeps it, with its stages.

    Times are in seconds since the epoch. ``task`` is ``deploy`` or ``rollback``. ``phase`` is an
    internal state that is not shown: while the deployment runs, recovery after a crash needs it;
    later it can be one of the phases above. ``wanted_revision`` is the commit that was asked for,
    as it was written, ``revision`` the full sha that was chosen. ``rollback_to`` is the release
    that a rollback was asked for (None: the last good one); its ``revision`` and ``release`` are
    set when it runs. ``delivery`` is the id of the delivery that queued it. ``rollback_of`` is the
    deployment that a rollback undoes. ``awaits`` is the revision whose checks must
    pass before it may run. ``for_newest_state`` tells that it deploys what the repo follows
    in the state at its turn, because nobody named a ref or revision.
    ``attempts`` is how often it was begun: more than once after a crash.
    """

    number: int
    repo: str
    task: str
    trigger: str
    actor: str
    status: str
    queued_at: float
    phase: str = ""
    ref: str | None = None
    wanted_revision: str | None = None
    revision: str | None = None
    previous_revision: str | None = None
    release: str | None = None
    previous_link: str | None = None
    subject: str | None = None
    delivery: int | None = None
    rollback_of: int | None = None
    rollback_to: str | None = None
    forced: bool = False
    awaits: str | None = None
    by_hand: bool = False
    for_newest_state: bool = False
    attempts: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    reason: str | None = None
    failure: Failure | None = None
    superseded_by: int | None = None
    stages: tuple[StageRecord, ...] = field(default=())

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def duration(self) -> float | None:
        """The seconds from start to end; None unless it has run and finished."""
        if self.started_at is None or self.finished_at is None:
            return None
        # Not negative where the clock was set back meanwhile.
        return round(max(self.finished_at - self.started_at, 0), 3)

    @property
    def is_own_rollback(self) -> bool:
        """Tell whether deployctl queued it, as the live release failed during probation."""
        return self.task == "rollback" and self.trigger == "auto"

    @property
    def went_back_by_itself(self) -> bool:
        """Tell whether it is an automatic rollback that succeeded."""
        return self.is_own_rollback and self.status == "succeeded"

    @property
    def exit_code(self) -> int:
        """The exit code of a command that waited for it; 5 if deployctl refused it."""
        if self.phase == REFUSED:
            return 5
        return EXIT_CODES.get(self.status, 1)

    @property
    def _expected_revision(self) -> str | None:
        """The wanted revision, if it is a full sha and the deployment is not finished."""
        wanted = self.wanted_revision
        is_full = wanted is not None and _FULL_SHA.fullmatch(wanted)
        return wanted if is_full and not self.finished else None

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "number": self.number,
            "repo": self.repo,
            "task": self.task,
            "trigger": self.trigger,
            "actor": self.actor,
            "status": self.status,
            "ref": self.ref,
            "revision": self.revision or self._expected_revision,
            "previous_revision": self.previous_revision,
            "release": self.release,
            "subject": self.subject,
            "delivery": self.delivery,
            "rollback_of": self.rollback_of,
            "queued_at": iso(self.queued_at),
            "started_at": iso(self.started_at),
            "finished_at": iso(self.finished_at),
            "duration": self.duration,
            "reason": self.reason,
            "stages": [stage.to_json() for stage in self.stages],
        }
        if self.failure is not None:
            document["failure"] = self.failure.to_json()
        return document
