"""A deployment that somebody waits for: run here when its turn comes, shown as it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from deployctl.errors import BusyError, Interrupted, RefusedError
from deployctl.follow import Follower
from deployctl.history import show
from deployctl.notices import outbox
from deployctl.run import run_here
from deployctl.site import Site, Worker
from deployctl.store import deployments, freezes, queue
from deployctl.store.freezes import describe_lock
from deployctl.system.signals import interruptible
from deployctl.system.wake import start_worker
from deployctl.turn import Turn
from deployctl.values.deployment import Deployment

_PAUSE = 0.1


def refuse_if_locked(site: Site) -> None:
    """A person's freeze holds for other persons too."""
    lock = freezes.lock_of(site.db, site.repo.name)
    if lock is not None:
        raise RefusedError(describe_lock(site.repo.name, lock))


def run_in_turn(worker: Worker, site: Site, number: int) -> Deployment:
    """Run a queued deployment here, or follow whoever runs it or what took its place."""
    turn = Turn(site)
    try:
        with interruptible():
            ended = _until_finished(worker, site, number, turn)
    except (KeyboardInterrupt, Interrupted):
        reason = "who asked for it did not wait"
        deployments.cancel_queued(worker.db, number, reason, time.time())
        raise
    finally:
        turn.release()
        _wake(worker)
    outbox.send_due(worker.db, worker.config.channels)
    return ended


def run_now(worker: Worker, site: Site, enqueue: Callable[[], int]) -> Deployment:
    """Queue and run if the turn is free this instant, else BusyError and nothing queued."""
    turn = Turn(site)
    if not turn.acquire():
        raise BusyError(
            f"another deployment is running ({_ahead(worker)}); try again later, "
            "or leave out --no-wait"
        )
    try:
        number = enqueue()
        with interruptible():
            ended = run_here(worker, site, number)
    finally:
        turn.release()
        _wake(worker)
    outbox.send_due(worker.db, worker.config.channels)
    return ended or show(worker.db, number)


def _until_finished(worker: Worker, site: Site, number: int, turn: Turn) -> Deployment:
    follower = Follower(worker.db, worker.show)
    while True:
        deployment = show(worker.db, number)
        if deployment.status == "superseded" and deployment.superseded_by:
            number = deployment.superseded_by
            worker.show.line(f"#{deployment.number} was superseded by #{number}: waiting for that")
        elif deployment.finished:
            follower.show_rest(deployment)
            return deployment
        elif deployment.status == "running":
            follower.show_more(deployment)
            time.sleep(_PAUSE)
        elif (reason := _why_not_now(worker, site, turn)) is None:
            ended = run_here(worker, site, number)
            turn.release()
            if ended is not None:
                return ended
        else:
            follower.waiting(deployment, reason)
            time.sleep(_PAUSE)


def _why_not_now(worker: Worker, site: Site, turn: Turn) -> str | None:
    """What a queued deployment waits for; None: nothing, and the turn is taken."""
    lock = freezes.lock_of(site.db, site.repo.name)
    if lock is not None:
        return describe_lock(site.repo.name, lock)
    return None if turn.acquire() else f"{_ahead(worker)} runs"


def _ahead(worker: Worker) -> str:
    """What runs now, as a person calls it."""
    running = deployments.all_running(worker.db)
    return ", ".join(f"{each.repo} #{each.number}" for each in running) or "another process"


def _wake(worker: Worker) -> None:
    """Workers that found the turn taken have ended: one more sees to what was queued meanwhile."""
    if queue.waiting(worker.db):
        start_worker(worker.config.path, worker.config.state_dir, worker.config.env_names)
