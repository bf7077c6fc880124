"""Try one point of the sweep: run an operation with a fault, repair, and check the invariants."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from tests.sweep import invariants
from tests.sweep.faults import (
    Fault,
    Kind,
    ProcessTree,
    Run,
    kill_descendants,
    reap,
    wait_for_descendants,
)
from tests.sweep.scene import Scene, Work

# A deployment whose process was killed is run once more by the recovery, and succeeds. A process in
# which a call failed goes on, and may end the deployment as failed.
_SUCCESS = frozenset(("succeeded", "superseded"))
_FAILURE = frozenset(("failed", "rolled_back", "cancelled"))
_TIMEOUT = 15.0  # seconds for a worker that the operation started to end by itself
_ACCEPTED = re.compile(rb"Status: 2\d\d ")


@dataclass(frozen=True)
class Operation:
    """An operation to sweep: the scene's state that it starts from, and its command.

    ``words`` are arguments of deployctl; without any it is a delivery to deploy.cgi. ``brings`` is
    the index, in the scene's revisions, of the one that is live if it succeeds.
    """

    name: str
    state: str
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


def count(scene: Scene, operation: Operation, kind: Kind) -> Run:
    """Run the operation without a fault; the result's calls are those that can meet one."""
    scene.restore(operation.state)
    with ProcessTree(None, kind, only_first=operation.is_delivery) as tree:
        return tree.run(operation.work(scene))


def attempt(scene: Scene, operation: Operation, fault: Fault) -> tuple[Run, list[str]]:
    """Run the operation with the fault; return the result of the run, and all violations."""
    scene.restore(operation.state)
    with ExitStack() as stack:
        stack.callback(reap)
        stack.callback(kill_descendants)
        tree = ProcessTree(fault, fault.kind, only_first=operation.is_delivery)
        stack.enter_context(tree)
        result = tree.run(operation.work(scene))
        if operation.is_delivery:
            tree.wait()
        violations = list(_violations(scene, operation, fault, result))
    return result, violations


def _violations(scene: Scene, operation: Operation, fault: Fault, result: Run) -> Iterator[str]:
    yield from (f"before repair: {each}" for each in invariants.before_repair(scene))
    repaired = scene.deployctl("run")
    if not wait_for_descendants(_TIMEOUT):
        yield f"P6: something was still at work {_TIMEOUT:g} s after the run"
    if repaired.code != 0:
        yield f"run ended with {repaired.code}: {repaired.output}"
    if repaired.code == -signal.SIGALRM:
        return  # the run hung, and so would all further commands
    yield from (f"after run: {each}" for each in invariants.after_repair(scene))
    yield from _outcome(scene, operation, fault, result)
    before = invariants.snapshot(scene)
    scene.deployctl("run")
    wait_for_descendants(_TIMEOUT)
    after = invariants.snapshot(scene)
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    if changed:
        yield f"I4: a second run changed {changed}"
    yield from _next_deployment(scene)


def _outcome(scene: Scene, operation: Operation, fault: Fault, result: Run) -> Iterator[str]:
    """Yield violations of the deployments of this operation: their ends, and what it promised."""
    rows = scene.rows("SELECT number, status FROM deployments WHERE number > 4")
    promised = _ACCEPTED.search(result.output) if operation.is_delivery else result.status == 0
    if promised and not rows and operation.name != "prune":
        yield "I1: it was accepted and is lost"
    for number, status in rows:
        if status not in _allowed(fault, result):
            yield f"I3: #{number} ended as {status}"
    if rows and rows[-1][1] == "succeeded":
        wanted = scene.revisions[operation.brings]
        if scene.live != wanted:
            yield f"I2: {scene.live} is live, not {wanted}"
    elif promised and rows and not operation.is_delivery and operation.words[0] != "run":
        yield f"P7: it ended with 0, and #{rows[-1][0]} as {rows[-1][1]}"


def _allowed(fault: Fault, result: Run) -> frozenset[str]:
    """Return the statuses with which a deployment may end after this fault.

    ``degraded`` is allowed only if a step met the fault or the disk stays full or broken.
    """
    if result.was_killed:
        return _SUCCESS
    lasting = fault.persists or result.in_a_step
    return _SUCCESS | _FAILURE | ({"degraded"} if lasting else set())


def _next_deployment(scene: Scene) -> Iterator[str]:
    """Deploy once more, and yield violations: no lock and no leftover may be in the way."""
    done = scene.deployctl("deploy", "app", "--force")
    if done.code != 0 or scene.live != scene.revisions[-1]:
        yield f"P5: the next deployment ended with {done.code}: {done.output}"
    yield from (f"after the next deployment: {each}" for each in invariants.after_repair(scene))
