"""A deployment as the record keeps it: one attempt to bring one revision live."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from deployctl.values.times import iso

FINISHED = ("succeeded", "failed", "rolled_back", "degraded", "superseded", "cancelled")

# The phase of a cancelled deployment that deployctl itself refused: held, or not reachable.
REFUSED = "refused"
# The phase of one that succeeded because there was nothing to do: it did not make anything live.
UNCHANGED = "unchanged"
# The same of one whose commit is none that is deployed by itself: sync leaves it alone.
IGNORED = "ignored"
IDLE = (UNCHANGED, IGNORED)

# What a command that waited for a deployment ends with, by the deployment's status.
EXIT_CODES = {
    "succeeded": 0,
    "failed": 1,
    "rolled_back": 3,
    "degraded": 4,
    "superseded": 1,
    "cancelled": 1,
}

# By how much a stage is much slower than usual: by both.
_TIMES_SLOWER = 3
_SECONDS_SLOWER = 10

_WHOLE_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """Who asks for a deployment, by which way, and when (seconds since the epoch)."""

    actor: str
    trigger: str
    now: float


@dataclass(frozen=True)
class Live:
    """What is live: a revision and the name of its release directory (None in place).

    ``link`` is the target of the symlink ``current``, unchanged, so that it can be restored even
    where somebody else made it.
    """

    revision: str | None
    release: str | None = None
    link: str | None = None


# The stages that ask a URL where there is no command.
_ASKING = ("healthcheck", "rollback healthcheck", "probation")


@dataclass(frozen=True)
class Failure:
    """Which step failed and how; ``tail`` is the last lines of its output."""

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
    def is_of_answer(self) -> bool:
        """Whether ``tail`` is rather the first lines of what a URL answered."""
        return self.stage in _ASKING and self.command is None

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
    """One command that ran: ``exit_code`` is None where a signal ended it; seconds.

    Where it stands in the log is unknown of what an older version ran.
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
    """A stage as it ran; ``status`` is running, succeeded, failed, cancelled or skipped.

    ``usual`` is the median of the times that it took before, where it ran often enough.
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
        """The status as a person is told it."""
        return "ok" if self.status == "succeeded" else self.status

    @property
    def slow(self) -> bool:
        """Whether it took so much longer than usual that somebody should know."""
        if self.usual is None or self.duration is None:
            return False
        return self.duration >= max(_TIMES_SLOWER * self.usual, self.usual + _SECONDS_SLOWER)

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
    """One row of the history, with its stages; times are seconds since the epoch.

    ``phase`` is the inner state that recovery needs and nobody else sees. ``rollback_to`` is what a
    rollback was asked to go back to (None: the last good release); ``revision`` and ``release``
    say what that was when its turn came.
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
        if self.started_at is None or self.finished_at is None:
            return None
        # Not negative where the clock was set back meanwhile.
        return round(max(self.finished_at - self.started_at, 0), 3)

    @property
    def is_own_rollback(self) -> bool:
        """Whether deployctl itself asked for it, as what is live is not well."""
        return self.task == "rollback" and self.trigger == "auto"

    @property
    def went_back_by_itself(self) -> bool:
        return self.is_own_rollback and self.status == "succeeded"

    @property
    def exit_code(self) -> int:
        """What a command that waited for it ends with; 5 where deployctl itself said no."""
        if self.phase == REFUSED:
            return 5
        return EXIT_CODES.get(self.status, 1)

    @property
    def _revision_asked_for(self) -> str | None:
        """Of one that has not ended: what it will deploy, where whoever asked gave a whole sha."""
        wanted = self.wanted_revision
        is_whole = wanted is not None and _WHOLE_SHA.fullmatch(wanted)
        return wanted if is_whole and not self.finished else None

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "number": self.number,
            "repo": self.repo,
            "task": self.task,
            "trigger": self.trigger,
            "actor": self.actor,
            "status": self.status,
            "ref": self.ref,
            "revision": self.revision or self._revision_asked_for,
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
