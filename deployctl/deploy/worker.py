"""The worker: repair what a crash left, run the queue until it is empty, send due notices.

Any number of workers may start at any time. One that finds no free turn just ends: whoever has
the turn looks at the queue again after giving it back, so nothing that was queued before is left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from deployctl.deploy.admission import Admission, Runtime
from deployctl.deploy.execute import execute
from deployctl.deploy.probation import check_probation
from deployctl.deploy.recover import end_leftovers, recover
from deployctl.errors import DeployctlError, StoreError, in_words
from deployctl.notices import outbox
from deployctl.output.screen import Output
from deployctl.releases.prune import prune, surplus
from deployctl.releases.site import Site, open_site
from deployctl.store import deliveries, deployments, freezes, probations, queue, reserve
from deployctl.store.logs import prune_logs
from deployctl.system.locks import repo_lock
from deployctl.system.process_tree import identity
from deployctl.values.deployment import Deployment

T = TypeVar("T")


def run(runtime: Runtime) -> list[Deployment]:
    """Work until nothing is left that can be done now -> the deployments that this call ran."""
    done: list[Deployment] = []
    try:
        recover_all(runtime)
        for ended in _work(runtime):
            done.append(ended)
            outbox.send_due(runtime.db, runtime.config.channels)
        _remove_what_is_old(runtime)
        _forget_what_is_old(runtime)
        reserve.keep(runtime.config.state_dir)
    finally:
        outbox.send_due(runtime.db, runtime.config.channels)
    return done


def _work(runtime: Runtime) -> Iterator[Deployment]:
    """The queue, and then what is on probation, which may fill it again.

    Also with what came meanwhile: that started no worker, as the repo's lock was taken.
    """
    yield from _run_queue(runtime)
    for probation in probations.every(runtime.db):
        if check_probation(runtime, probation):
            yield from _run_queue(runtime)


def _forget_what_is_old(runtime: Runtime) -> None:
    """What came in and what was told, not what was deployed: the history stays."""
    now = time.time()
    deliveries.prune(runtime.db, now - runtime.config.keep_deliveries)
    outbox.forget(runtime.db, now)


def _remove_what_is_old(runtime: Runtime) -> None:
    """Logs, and releases that may go since repos.yml was changed or could not go before.

    Before anything is written down: a full disk gets its room from here.
    """
    kept = deployments.with_kept_logs(runtime.db)
    prune_logs(runtime.config.state_dir, time.time() - runtime.config.keep_logs, kept)
    for name in runtime.config.repos:
        with contextlib.suppress(DeployctlError):  # what cannot be looked at is told elsewhere
            if surplus(open_site(runtime.config, runtime.db, name)):
                _when_admitted(runtime, name, partial(_prune, output=runtime.output))


def _prune(site: Site, output: Output) -> None:
    """What somebody builds, or a crash left half made, is not to be touched here."""
    if deployments.running(site.db, site.repo.name) is None:
        prune(site, output)


def run_queued(runtime: Runtime, site: Site, number: int) -> Deployment | None:
    """Carry out one queued deployment; the caller has the turn. None where it may not run now."""
    recover(site, runtime.output)
    runner = json.dumps(dataclasses.asdict(identity()))
    if not deployments.claim(runtime.db, number, runner, time.time()):
        return None
    reserve.keep(runtime.config.state_dir)
    claimed = deployments.get(runtime.db, number)
    return execute(site, claimed, runtime.output) if claimed else None


def _run_queue(runtime: Runtime) -> Iterator[Deployment]:
    """The oldest deployment whose turn it can be, and so on, until there is none.

    Also where none could run: what came while a turn was ours started no worker, so it is looked
    for until nothing new is found.
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
    if name not in runtime.config.repos:
        reason = f"{name} is no longer in {runtime.config.path}"
        deployments.cancel_queued(runtime.db, number, reason, time.time())
    elif freezes.lock_of(runtime.db, name) is None:
        return _when_admitted(runtime, name, partial(run_queued, runtime, number=number))
    return None


def recover_all(runtime: Runtime) -> None:
    for number, name in queue.running(runtime.db):
        if name in runtime.config.repos:
            _when_admitted(runtime, name, partial(recover, output=runtime.output))
        else:
            _forget(runtime, number, name)


def _forget(runtime: Runtime, number: int, name: str) -> None:
    """What a dead process began in a repo that repos.yml does not have any more."""
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
            status, reason = "degraded", f"{reason}: what is live there was not proven"
        with runtime.db.writing() as connection:
            deployments.finish(
                connection, number, status=status, reason=reason, failure=None, now=time.time()
            )
        runtime.output.line(f"{name} #{number}: {status}: {reason}")
    finally:
        lock.release()


def _when_admitted(runtime: Runtime, name: str, work: Callable[[Site], T]) -> T | None:
    """Do it if the repo's turn is free; one repo's trouble does not keep the others from theirs."""
    site = open_site(runtime.config, runtime.db, name)
    admission = Admission(site)
    try:
        return work(site) if admission.acquire() else None
    except StoreError:  # it is the trouble of all of them
        raise
    except (DeployctlError, OSError) as error:
        runtime.output.line(f"{name}: {in_words(error)}")
        return None
    finally:
        admission.release()
