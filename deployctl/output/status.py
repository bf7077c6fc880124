"""Read what is live, queued, held or locked, and what was deployed; nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployctl.errors import DeployctlError, UsageError
from deployctl.releases.choose import default_rollback_target
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

    def to_json(self) -> dict[str, Any]:
        repo = self.site.repo
        return {
            "repo": repo.name,
            "strategy": repo.strategy,
            "path": repo.path,
            "branch": repo.branch if repo.tags is None else None,
            "tags": repo.tags,
            "live": _live_json(self.live, self.made_live_by),
            "last": self.last.to_json() if self.last else None,
            "running": self.running.to_json() if self.running else None,
            "queued": [deployment.to_json() for deployment in self.queued],
            "hold": _hold_json(self.hold),
            "lock": _lock_json(self.lock),
            "rollback_to": _target_json(self.rollback_to),
            "problem": self.problem,
            "probation": self.probation.to_json() if self.probation else None,
        }


def status(site: Site) -> RepoStatus:
    """Return the present state of a repo, read from the record and the disk.

    Where what is live cannot be read, that is the ``problem`` of the result and no exception, so
    that the states of other repos can be shown.
    """
    db, name = site.db, site.repo.name
    live = target = made_live_by = problem = None
    try:
        live = site.layout.live()
        target = default_rollback_target(site, releases.of_repo(db, name))
    except DeployctlError as error:
        problem = str(error)
    if live is not None and live.revision is not None:
        made_live_by = deployments.find_that_made_live(db, name, live.revision, live.release)
    return RepoStatus(
        site=site,
        live=live,
        made_live_by=made_live_by,
        last=deployments.newest_finished(db, name),
        running=deployments.running(db, name),
        queued=deployments.queued(db, name),
        hold=locks_and_holds.hold_of(db, name),
        lock=locks_and_holds.lock_of(db, name),
        rollback_to=target,
        problem=problem,
        probation=_on_probation(site, made_live_by),
    )


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


def _live_json(live: Live | None, made_live_by: Deployment | None) -> dict[str, Any] | None:
    if live is None:
        return None
    return {
        "revision": live.revision,
        "release": live.release,
        "since": iso(made_live_by.finished_at) if made_live_by else None,
        "deployment": made_live_by.number if made_live_by else None,
        "subject": made_live_by.subject if made_live_by else None,
    }


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
