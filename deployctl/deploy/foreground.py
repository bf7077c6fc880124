"""A deployment that somebody waits for: run here when its turn comes, shown as it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from deployctl.deploy.admission import Admission, Runtime
from deployctl.deploy.worker import run_queued
from deployctl.errors import BusyError, Interrupted, RefusedError
from deployctl.notices import outbox
from deployctl.output.follow import Follower
from deployctl.output.status import get_deployment
from deployctl.releases.site import Site
from deployctl.store import deployments, freezes, queue
from deployctl.store.freezes import describe_lock
from deployctl.system.signals import interruptible
from deployctl.system.wake import start_worker
from deployctl.values.deployment import Deployment

_PAUSE = 0.1


def refuse_if_locked(site: Site) -> None:
    """A person's freeze holds for other persons too."""
    lock = freezes.lock_of(site.db, site.repo.name)
    if lock is not None:
        raise RefusedError(describe_lock(site.repo.name, lock))


def run_when_admitted(runtime: Runtime, site: Site, number: int) -> Deployment:
    """Run a queued deployment here, or follow whoever runs it or what took its place."""
    admission = Admission(site)
    try:
        with interruptible():
            ended = _until_finished(runtime, site, number, admission)
    except (KeyboardInterrupt, Interrupted):
        reason = "who asked for it did not wait"
        deployments.cancel_queued(runtime.db, number, reason, time.time())
        raise
    finally:
        admission.release()
        _wake(runtime)
    outbox.send_due(runtime.db, runtime.config.channels)
    return ended


def run_without_waiting(runtime: Runtime, site: Site, enqueue: Callable[[], int]) -> Deployment:
    """Queue and run if the turn is free this instant, else BusyError and nothing queued."""
    admission = Admission(site)
    if not admission.acquire():
        raise BusyError(
            f"another deployment is running ({_ahead(runtime)}); try again later, "
            "or leave out --no-wait"
        )
    try:
        number = enqueue()
        with interruptible():
            ended = run_queued(runtime, site, number)
    finally:
        admission.release()
        _wake(runtime)
    outbox.send_due(runtime.db, runtime.config.channels)
    return ended or get_deployment(runtime.db, number)


def _until_finished(runtime: Runtime, site: Site, number: int, admission: Admission) -> Deployment:
    follower = Follower(runtime.db, runtime.output)
    while True:
        deployment = get_deployment(runtime.db, number)
        if deployment.status == "superseded" and deployment.superseded_by:
            number = deployment.superseded_by
            runtime.output.line(
                f"#{deployment.number} was superseded by #{number}: waiting for that"
            )
        elif deployment.finished:
            follower.show_rest(deployment)
            return deployment
        elif deployment.status == "running":
            follower.show_more(deployment)
            time.sleep(_PAUSE)
        elif (reason := _why_not_now(runtime, site, admission)) is None:
            ended = run_queued(runtime, site, number)
            admission.release()
            if ended is not None:
                return ended
        else:
            follower.waiting(deployment, reason)
            time.sleep(_PAUSE)


def _why_not_now(runtime: Runtime, site: Site, admission: Admission) -> str | None:
    """What a queued deployment waits for; None: nothing, and the turn is taken."""
    lock = freezes.lock_of(site.db, site.repo.name)
    if lock is not None:
        return describe_lock(site.repo.name, lock)
    return None if admission.acquire() else f"{_ahead(runtime)} runs"


def _ahead(runtime: Runtime) -> str:
    """What runs now, as a person calls it."""
    running = deployments.all_running(runtime.db)
    return ", ".join(f"{each.repo} #{each.number}" for each in running) or "another process"


def _wake(runtime: Runtime) -> None:
    """Workers that found the turn taken have ended: one more sees to what was queued meanwhile."""
    if queue.waiting(runtime.db):
        start_worker(runtime.config.path, runtime.config.state_dir, runtime.config.env_names)
