"""The worker (`deployctl run`): recover after a crash, run the queue, check probations.

It also has the notices that are due sent, by a process beside the queue, and removes old logs,
releases, deliveries and notices.

Any number of workers may start at any time. To run a deployment, a worker needs admission: the
repo's lock file and a slot (see admission.py). A worker that gets no admission ends without
waiting. Nothing stays in the queue because of that: the process that has the admission reads the
queue again after it has released it, and so finds a deployment that was queued meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from deployctl.deploy.admission import Admission, Runtime, needs_slot
from deployctl.deploy.execute import execute
from deployctl.deploy.probation import check_probation
from deployctl.deploy.recover import end_leftovers, recover
from deployctl.errors import DeployctlError, StoreError, in_words
from deployctl.notices import outbox
from deployctl.notices.sender import Sender
from deployctl.output.screen import Output
from deployctl.releases.prune import prune, surplus
from deployctl.releases.site import Site, open_site
from deployctl.store import deliveries, deployments, locks_and_holds, probations, queue, reserve
from deployctl.store.logs import prune_logs
from deployctl.store.probations import Probation
from deployctl.system.locks import repo_lock
from deployctl.system.process_tree import identity
from deployctl.values.deployment import Deployment

T = TypeVar("T")


def run(runtime: Runtime) -> list[Deployment]:
    """Do all work that can be done now, and return the deployments that this call ran.

    Sending notices begins after each deployment, and is waited for at the end, even if an exception
    is raised.
    """
    done: list[Deployment] = []
    sender = Sender(runtime.config, runtime.db)
    try:
        recover_all(runtime)
        sender.start_if_due()
        for ended in _run_all(runtime):
            done.append(ended)
            sender.start_if_due()
        _prune_deliveries_and_notices(runtime)
        reserve.ensure_reserve(runtime.config.state_dir)
    finally:
        sender.finish()
    return done


def _run_all(runtime: Runtime) -> Iterator[Deployment]:
    """Run the queue, check probations and remove what is surplus; yield what ended.

    The last thing is a look at the queue. Pruning takes the lock files of repos, and a delivery
    that finds one taken starts no worker: it relies on a look after the lock file is free again.
    """
    yield from _run_queue_and_probations(runtime)
    _prune_logs_and_releases(runtime)
    yield from _run_queue(runtime)


def _run_queue_and_probations(runtime: Runtime) -> Iterator[Deployment]:
    """Run the queue, then check each release on probation; yield each deployment that ended.

    The queue is run again after a check, for two reasons: the check may have queued a rollback,
    and a delivery that came meanwhile started no worker, because this one held the repo's lock
    file.
    """
    yield from _run_queue(runtime)
    for probation in probations.every(runtime.db):
        now: Probation | None = probation
        while now is not None and check_probation(runtime, now):
            before = now.rollback
            yield from _run_queue(runtime)
            now = probations.of_repo(runtime.db, probation.repo)
            if now is not None and now.rollback == before:
                break  # else a rollback was tried and failed: the next one may go further back


def _prune_deliveries_and_notices(runtime: Runtime) -> None:
    """Remove old deliveries and notices from the record; deployments are kept for ever."""
    now = time.time()
    deliveries.prune(runtime.db, now - runtime.config.keep_deliveries)
    outbox.delete_old_notices(runtime.db, now)


def _prune_logs_and_releases(runtime: Runtime) -> None:
    """Remove old logs and surplus releases from the disk.

    A release can be surplus because repos.yml was changed, or because it could not be removed
    before. This is done before the record is written, so that a full disk gets free space first.
    """
    is_kept = partial(deployments.keeps_its_log, runtime.db)
    prune_logs(runtime.config.state_dir, time.time() - runtime.config.keep_logs, is_kept)
    for name in runtime.config.repos:
        with contextlib.suppress(DeployctlError):  # `deployctl status` shows this error
            if surplus(open_site(runtime.config, runtime.db, name)):
                _if_admitted(runtime, name, partial(_prune_if_idle, output=runtime.output))


def _prune_if_idle(site: Site, output: Output) -> None:
    """Remove surplus releases, unless the record has a running deployment of the repo.

    The caller holds the lock file, so that one is a deployment whose process died: its unfinished
    release is left to recovery.
    """
    if deployments.running(site.db, site.repo.name) is None:
        prune(site, output)


def run_queued(runtime: Runtime, site: Site, number: int) -> Deployment | None:
    """Claim and execute one queued deployment; return it as it ended, or None.

    ``number`` is the number of the deployment. The caller has the admission of the repo; a
    deployment whose process died is recovered first. None means that this one may not run now: it
    is no longer queued, it waits for checks, or a person has locked the repo. Raises what
    :func:`execute` raises.
    """
    recover(site, runtime.output)
    runner = json.dumps(dataclasses.asdict(identity()))
    if not deployments.claim(runtime.db, number, runner, time.time()):
        return None
    reserve.ensure_reserve(runtime.config.state_dir)
    claimed = deployments.get(runtime.db, number)
    return execute(site, claimed, runtime.output) if claimed else None


def _run_queue(runtime: Runtime) -> Iterator[Deployment]:
    """Run the queued deployments, the oldest first, and yield each one that ended.

    The queue is read again after each deployment, and after each pass in which none could run,
    until it has not changed since the last reading: a delivery that comes while this process has
    the admission of a repo starts no worker.
    """
    seen: list[tuple[int, str]] | None = None
    while (waiting := queue.waiting(runtime.db)) != seen:
        seen = waiting
        tried = (_run_one(runtime, number, name) for number, name in waiting)
        ended = next(filter(None, tried), None)
        if ended is not None:
            yield ended
            seen = None


def _run_one(runtime: Runtime, number: int, name: str) -> Deployment | None:
    """Run a queued deployment of the repo ``name`` if it can run now; None if it did not.

    repos.yml is read again: ConfigError if it has become wrong, and then nothing begins. A
    deployment of a repo that is not in it any more is cancelled.
    """
    if locks_and_holds.lock_of(runtime.db, name) or queue.next_of(runtime.db, name) != number:
        return None
    runtime = runtime.reread()
    if name not in runtime.config.repos:
        reason = f"{name} is no longer in {runtime.config.path}"
        deployments.cancel_queued(runtime.db, number, reason, time.time())
        return None
    slot = needs_slot(open_site(runtime.config, runtime.db, name), number)
    return _if_admitted(runtime, name, partial(run_queued, runtime, number=number), slot=slot)


def recover_all(runtime: Runtime) -> None:
    """Recover each deployment whose process died; one whose process lives is left alone."""
    for number, name in queue.running(runtime.db):
        if name in runtime.config.repos:
            _if_admitted(runtime, name, partial(recover, output=runtime.output))
        else:
            _finish_unconfigured(runtime, number, name)


def _finish_unconfigured(runtime: Runtime, number: int, name: str) -> None:
    """Record the end of a deployment whose process died and whose repo is not in repos.yml.

    Nothing can be undone without the configuration of the repo, so the status is ``failed``, or
    ``degraded`` if it died after the switch had begun. Does nothing if its process still lives.
    """
    lock = repo_lock(runtime.config.state_dir, name)
    if not lock.acquire():
        return
    try:
        dead = deployments.get(runtime.db, number)
        if dead is not None:
            end_leftovers(runtime.db, dead)
        reason = f"its process died, and {name} is no longer in {runtime.config.path}"
        status = "failed"
        if dead is not None and dead.phase == "switching":
            status, reason = "degraded", f"{reason}: what is live there was not checked"
        with runtime.db.writing() as connection:
            deployments.finish(
                connection, number, status=status, reason=reason, failure=None, now=time.time()
            )
        runtime.output.line(f"{name} #{number}: {status}: {reason}")
    finally:
        lock.release()


def _if_admitted(
    runtime: Runtime, name: str, work: Callable[[Site], T], *, slot: bool = False
) -> T | None:
    """Call ``work`` with the admission of the repo, and return its result; None if not admitted.

    ``slot`` tells whether it builds something.

    An error of one repo is shown and not raised, so that the other repos are still worked on.
    """
    site = open_site(runtime.config, runtime.db, name)
    admission = Admission(site)
    try:
        return work(site) if admission.acquire(slot=slot) else None
    except StoreError:  # it concerns all repos
        raise
    except (DeployctlError, OSError) as error:
        runtime.output.line(f"{name}: {in_words(error)}")
        return None
    finally:
        admission.release()
