"""Run a deployment in the process of the command that asked for it, and show it as it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from deployctl.deploy.admission import Admission, Runtime, needs_slot
from deployctl.deploy.worker import run_queued
from deployctl.errors import BusyError, Interrupted, RefusedError
from deployctl.notices import outbox
from deployctl.output.follow import Follower
from deployctl.output.status import get_deployment
from deployctl.releases.site import Site, open_site
from deployctl.store import deployments, locks_and_holds, queue
from deployctl.store.locks_and_holds import describe_lock
from deployctl.system.signals import interruptible
from deployctl.system.wake import wake_worker
from deployctl.values.deployment import Deployment

_PAUSE = 0.1  # seconds
# Seconds until a worker is started for a deployment that has its turn first, and at most so many
# until the next one is: it may find no slot free.
_FIRST_LOOK, _LONGEST_PAUSE = 2.0, 60.0


def refuse_if_locked(site: Site) -> None:
    """Raise RefusedError if a person has locked the repo; the lock holds for every person."""
    lock = locks_and_holds.lock_of(site.db, site.repo.name)
    if lock is not None:
        raise RefusedError(describe_lock(site.repo.name, lock))


def run_when_admitted(runtime: Runtime, site: Site, number: int) -> Deployment:
    """Run a queued deployment in this process as soon as it is admitted; return how it ended.

    If another process runs it, its log is shown instead; if a newer deployment has superseded it,
    that one is waited for. If Ctrl-C, a signal or an error ends the waiting, the deployment is
    cancelled while it is still queued, and the exception is raised again.
    """
    admission = Admission(site)
    try:
        with interruptible():
            ended = _run_or_follow(runtime, site, number, admission)
    except BaseException as error:  # a signal, a wrong repos.yml, a disk that fails
        reason = f"it could not begin: {error}"
        if isinstance(error, (KeyboardInterrupt, Interrupted)):
            reason = "who asked for it did not wait"
        deployments.cancel_queued(runtime.db, number, reason, time.time())
        raise
    finally:
        admission.release()
        _start_worker_if_queued(runtime)
    outbox.send_due(runtime.db, runtime.config.channels)
    return ended


def run_without_waiting(runtime: Runtime, site: Site, enqueue: Callable[[], int]) -> Deployment:
    """Queue a deployment and run it, if it is admitted at once; return how it ended.

    ``enqueue`` queues it and returns its number. Raises BusyError, without calling ``enqueue``, if
    another deployment of the repo runs or no slot is free.
    """
    admission = Admission(site)
    if not admission.acquire():
        raise _busy(f"another deployment is running ({_describe_running(runtime)})")
    try:
        waiting = queue.next_of(runtime.db, site.repo.name)
        if waiting is not None:
            raise _busy(f"#{waiting} waits for its turn")
        number = enqueue()
        with interruptible():
            ended = _run_at_its_turn(runtime, site, number)
    finally:
        admission.release()
        _start_worker_if_queued(runtime)
    outbox.send_due(runtime.db, runtime.config.channels)
    return ended or get_deployment(runtime.db, number)


def _busy(why: str) -> BusyError:
    return BusyError(f"{why}; try again later, or leave out --no-wait")


def _run_or_follow(runtime: Runtime, site: Site, number: int, admission: Admission) -> Deployment:
    """Run or follow a deployment, or the one that superseded it, and return it as it ended."""
    follower = Follower(runtime.db, runtime.output)
    pause = _FIRST_LOOK
    look_at = time.monotonic() + pause
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
        else:
            reason = _admit_or_reason(runtime, site, deployment, admission)
            if reason is None:
                ended = _run_at_its_turn(runtime, site, number)
                admission.release()
                if ended is not None:
                    return ended
            elif time.monotonic() > look_at and _is_behind_another(site, number):
                _start_worker_if_queued(runtime)  # who asked for the one ahead may be gone
                pause = min(pause * 2, _LONGEST_PAUSE)
                look_at = time.monotonic() + pause
            follower.waiting(deployment, reason or "its turn comes")
            time.sleep(_PAUSE)


def _is_behind_another(site: Site, number: int) -> bool:
    name = site.repo.name
    is_locked = locks_and_holds.lock_of(site.db, name) is not None
    return not is_locked and queue.next_of(site.db, name) not in (None, number)


def _run_at_its_turn(runtime: Runtime, site: Site, number: int) -> Deployment | None:
    """Run a queued deployment with repos.yml as it is now; ConfigError if that is wrong."""
    runtime = runtime.reread()
    return run_queued(runtime, open_site(runtime.config, runtime.db, site.repo.name), number)


def _admit_or_reason(
    runtime: Runtime, site: Site, deployment: Deployment, admission: Admission
) -> str | None:
    """Acquire the admission and return None; or return the reason for which that cannot be now."""
    name = site.repo.name
    lock = locks_and_holds.lock_of(site.db, name)
    if lock is not None:
        return describe_lock(name, lock)
    if deployment.awaits is not None:
        return f"the checks of {deployment.awaits} have not passed yet"
    ahead = queue.next_of(site.db, name)
    if ahead != deployment.number:
        return f"#{ahead} has its turn first"
    slot = needs_slot(site, deployment.number)
    return None if admission.acquire(slot=slot) else f"{_describe_running(runtime)} runs"


def _describe_running(runtime: Runtime) -> str:
    """Return the running deployments as a person calls them, such as "blog #3, shop #4"."""
    running = deployments.all_running(runtime.db)
    names = (f"{deployment.repo} #{deployment.number}" for deployment in running)
    return ", ".join(names) or "another process"


def _start_worker_if_queued(runtime: Runtime) -> None:
    """Make sure that the deployments in line are run, if there are any.

    The workers that were started while this process had the admission have ended without running
    them. Where a process has the lock file of a repo now, that one does this at its end.
    """
    config = runtime.config
    for name in {repo for _, repo in queue.waiting(runtime.db)}:
        wake_worker(config.path, config.env_names, config.state_dir, name)
