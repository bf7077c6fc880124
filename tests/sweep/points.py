"""One point of the sweep: begin, run with the fault, look, repair, look, run again, look."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from tests.sweep import invariants
from tests.sweep.faults import Fault, Kind, Machine, Ran, end_all_below, none_left_alive, reap
from tests.sweep.scene import Scene, Work

# What died is begun again by recovery and succeeds; what lives on may say that it failed.
_WELL = frozenset(("succeeded", "superseded"))
_FAILED = frozenset(("failed", "rolled_back", "cancelled"))
_PATIENCE = 15.0  # seconds; a worker that the call started ends by itself
_ACCEPTED = re.compile(rb"Status: 2\d\d ")


@dataclass(frozen=True)
class Operation:
    """What is swept: where it begins, what it does, which revision it brings (index)."""

    name: str
    beginning: str
    words: tuple[str, ...] = ()
    brings: int = -1

    def work(self, scene: Scene) -> Work:
        return scene.command(*self.words) if self.words else scene.delivery()

    @property
    def is_delivery(self) -> bool:
        return not self.words


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("accept", "live"),
        Operation("deploy", "live", ("deploy", "app")),
        Operation("run", "queued", ("run",)),
        Operation("rollback", "live", ("rollback", "app"), brings=-3),
        Operation("rebuild", "half-built", ("run",)),
        Operation("undo", "half-live", ("run",)),
        Operation("prune", "live", ("run",), brings=-2),
    )
}


def count(scene: Scene, operation: Operation, kind: Kind) -> Ran:
    """Run it without a fault -> the calls at which there could be one."""
    scene.begin(operation.beginning)
    with Machine(None, kind, only_first=operation.is_delivery) as machine:
        return machine.run(operation.work(scene))


def attempt(scene: Scene, operation: Operation, fault: Fault) -> tuple[Ran, list[str]]:
    """Run it with the fault -> how it ran, and each thing that is not as it must be."""
    scene.begin(operation.beginning)
    with ExitStack() as stack:
        stack.callback(reap)
        stack.callback(end_all_below)
        machine = stack.enter_context(Machine(fault, fault.kind, only_first=operation.is_delivery))
        ran = machine.run(operation.work(scene))
        if operation.is_delivery:
            machine.wait()
        violations = list(_judge(scene, operation, fault, ran))
    return ran, violations


def _judge(scene: Scene, operation: Operation, fault: Fault, ran: Ran) -> Iterator[str]:
    yield from (f"at once: {each}" for each in invariants.at_once(scene))
    repaired = scene.deployctl("run")
    if not none_left_alive(_PATIENCE):
        yield f"P6: something was still at work {_PATIENCE:g} s after the run"
    if repaired.code != 0:
        yield f"run ended with {repaired.code}: {repaired.output}"
    if repaired.code == -signal.SIGALRM:
        return  # all that follows would wait for ever, too
    yield from (f"after run: {each}" for each in invariants.after_repair(scene))
    yield from _outcome(scene, operation, fault, ran)
    before = invariants.snapshot(scene)
    scene.deployctl("run")
    none_left_alive(_PATIENCE)
    after = invariants.snapshot(scene)
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    if changed:
        yield f"I4: a second run changed {changed}"
    yield from _goes_on(scene)


def _outcome(scene: Scene, operation: Operation, fault: Fault, ran: Ran) -> Iterator[str]:
    """What was begun is finished, what was said is true."""
    rows = scene.rows("SELECT number, status FROM deployments WHERE number > 4")
    said_yes = _ACCEPTED.search(ran.output) if operation.is_delivery else ran.status == 0
    if said_yes and not rows and operation.name != "prune":
        yield "I1: it was accepted and is lost"
    for number, status in rows:
        if status not in _allowed(fault, ran):
            yield f"I3: #{number} ended as {status}"
    if rows and rows[-1][1] == "succeeded":
        wanted = scene.revisions[operation.brings]
        if scene.live != wanted:
            yield f"I2: {scene.live} is live, not {wanted}"
    elif said_yes and rows and not operation.is_delivery and operation.words[0] != "run":
        yield f"P7: it ended with 0, and #{rows[-1][0]} as {rows[-1][1]}"


def _allowed(fault: Fault, ran: Ran) -> frozenset[str]:
    """How it may end; that going back fails too only where a step or the whole disk was struck."""
    if ran.was_killed:
        return _WELL
    lasting = fault.stays or ran.in_a_step
    return _WELL | _FAILED | ({"degraded"} if lasting else set())


def _goes_on(scene: Scene) -> Iterator[str]:
    """No lock, no leftover keeps the next deployment from working."""
    done = scene.deployctl("deploy", "app", "--force")
    if done.code != 0 or scene.live != scene.revisions[-1]:
        yield f"P5: the next deployment ended with {done.code}: {done.output}"
    yield from (f"after the next deployment: {each}" for each in invariants.after_repair(scene))
