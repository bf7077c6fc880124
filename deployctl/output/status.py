"""Read what is live, queued, held or locked, and what was deployed; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployctl.errors import DeployctlError, UsageError
from deployctl.releases.choose import default_rollback_target, live_release
from deployctl.releases.site import Site
from deployctl.store import deployments, locks_and_holds, probations, releases
from deployctl.store.database import Database
from deployctl.store.locks_and_holds import Hold, Lock
from deployctl.store.probations import Probation
from deployctl.store.releases import ReleaseRecord
from deployctl.system.clock import current_instant
from deployctl.values.deployment import Deployment, Live
from deployctl.values.times import iso


@dataclass(frozen=True)
class OnProbation:
    """The probation of what is live.

    ``until`` is the time of its end in seconds since the epoch, ``left`` the seconds until then, 0
    after it. After its end, a probation is shown only where its health check failed.
    """

    record: Probation
    until: float
    left: float

    def to_json(self) -> dict[str, Any]:
        record = self.record
        return {
            "deployment": record.deployment,
            "since": iso(record.since.wall),
            "until": iso(self.until),
            "left": round(self.left, 3),
            "failure": record.failure.to_json() if record.failure else None,
            "reason": record.why,
            "rollback": record.rollback,
        }


@dataclass(frozen=True)
class RepoStatus:
    """The present state of a repo.

    ``made_live_by`` is the deployment that made live what is live, None where that is not known;
    ``checking`` tells whether that deployment still runs: it restarts or checks its release.
    ``well`` is False where what is live has failed its health check and stayed;
    ``last`` is the newest finished deployment; ``rollback_to`` is the release that a rollback would
    go back to by default. ``problem`` says why what is live cannot be read, None where it can.
    """

    site: Site
    live: Live | None
    made_live_by: Deployment | None
    last: Deployment | None
    running: Deployment | None
    queued: Sequence[Deployment]
    hold: Hold | None
    lock: Lock | None
    rollback_to: ReleaseRecord | None
    problem: str | None = None
    probation: OnProbation | None = None
    checking: bool = False
    well: bool = True

    def to_json(self) -> dict[str, Any]:
        repo = self.site.repo
        return {
            "repo": repo.name,
            "strategy": repo.strategy,
            "path": repo.path,
            "branch": repo.branch if repo.tags is None else None,
            "tags": repo.tags,
            "live": self._live_json(),
            "last": self.last.to_json() if self.last else None,
            "running": self.running.to_json() if self.running else None,
            "queued": [deployment.to_json() for deployment in self.queued],
            "hold": _hold_json(self.hold),
            "lock": _lock_json(self.lock),
            "rollback_to": _target_json(self.rollback_to),
            "problem": self.problem,
            "probation": self.probation.to_json() if self.probation else None,
        }

    def _live_json(self) -> dict[str, Any] | None:
        if self.live is None:
            return None
        by = self.made_live_by
        return {
            "revision": self.live.revision,
            "release": self.live.release,
            "since": iso(by.finished_at) if by else None,
            "deployment": by.number if by else None,
            "subject": by.subject if by else None,
            "checking": self.checking,
            "well": self.well,
        }

    @property
    def is_ok(self) -> bool:
        """Tell whether the newest finished deployment succeeded and what is live can be served."""
        return self.problem is None and (self.last is None or self.last.status == "succeeded")


def status(site: Site) -> RepoStatus:
    """Return the present state of a repo, read from the record and the disk.

    Where what is live cannot be read, that is the ``problem`` of the result and no exception, so
    that the states of other repos can be shown.
    """
    db, name = site.db, site.repo.name
    live = target = record = problem = None
    try:
        live = site.layout.live()
        known = releases.of_repo(db, name)
        record, target = live_release(site, known), default_rollback_target(site, known)
        problem = _why_not_whole(site, live)
    except DeployctlError as error:
        problem = str(error)
    running = deployments.running(db, name)
    checking = live is not None and running is not None and _is_switched_to(running, live)
    is_bad = record is not None and record.state == "bad"
    made_live_by = running if checking else _made_live_by(site, live, record)
    probation = _on_probation(site, made_live_by)
    return RepoStatus(
        site=site,
        live=live,
        made_live_by=made_live_by,
        last=deployments.newest_finished(db, name),
        running=running,
        queued=deployments.queued(db, name),
        hold=locks_and_holds.hold_of(db, name),
        lock=locks_and_holds.lock_of(db, name),
        rollback_to=target,
        problem=problem,
        probation=probation,
        checking=checking,
        well=not is_bad and not (probation and probation.record.failure),
    )


def _why_not_whole(site: Site, live: Live | None) -> str | None:
    """Return a sentence about a link that leads to nothing; None where there is no such link."""
    if live is None or live.link is None or os.path.isdir(site.layout.live_directory()):
        return None
    return (
        f"{site.layout.live_directory()} leads to {live.link}, which is gone: "
        f"deployctl deploy {site.repo.name}"
    )


def _is_switched_to(running: Deployment, live: Live) -> bool:
    """Tell whether a running deployment has made this live and still restarts or checks it."""
    target = (running.revision, running.release)
    return running.phase == "switching" and (live.revision, live.release) == target


def _made_live_by(site: Site, live: Live | None, record: ReleaseRecord | None) -> Deployment | None:
    """Return the deployment that made this live, also one that failed and left it there.

    ``record`` is the release that is live, None if deployctl did not build it.
    """
    if live is None or live.revision is None:
        return None
    found = deployments.find_that_made_live(site.db, site.repo.name, live.revision, live.release)
    if found is None and record is not None and record.state == "bad":
        return deployments.get(site.db, record.number)
    return found


def _on_probation(site: Site, made_live_by: Deployment | None) -> OnProbation | None:
    record = probations.of_repo(site.db, site.repo.name)
    if record is None or made_live_by is None or record.deployment != made_live_by.number:
        return None
    now = current_instant()
    left = max(site.repo.probation - record.since.seconds_until(now), 0.0)
    if not left and (record.failure is None or not site.repo.probation):
        return None
    return OnProbation(record, now.wall + left, left)


def get_deployment(db: Database, number: int) -> Deployment:
    """Return a deployment with its stages; UsageError where there is none of that number."""
    deployment = deployments.get(db, number)
    if deployment is None:
        raise UsageError(f"no deployment #{number}; see: deployctl history")
    return deployment


def newest_deployment(db: Database, repo: str | None) -> Deployment:
    """Return the newest deployment of a repo (None: of all repos), else UsageError."""
    found = deployments.history(db, repo, 1)
    if not found:
        what = f"{repo} was never deployed" if repo else "nothing was ever deployed"
        raise UsageError(f"{what}; start with: deployctl deploy {repo or 'REPO'}")
    return found[0]


def _hold_json(hold: Hold | None) -> dict[str, Any] | None:
    if hold is None:
        return None
    return {"revision": hold.revision, "since": iso(hold.since), "why": hold.why}


def _lock_json(lock: Lock | None) -> dict[str, Any] | None:
    if lock is None:
        return None
    return {"actor": lock.actor, "since": iso(lock.since), "why": lock.why}


def _target_json(target: ReleaseRecord | None) -> dict[str, Any] | None:
    if target is None:
        return None
    return {
        "revision": target.revision,
        "release": target.name,
        "deployment": target.number or None,
    }
