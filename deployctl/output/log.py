"""Read the log of a deployment: all of it, or the part of the step that failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployctl.store.database import Database
from deployctl.store.logs import log_path
from deployctl.values.deployment import Deployment, Failure, StageRecord, StepRecord

_CHUNK = 64 * 1024  # bytes


def read_log(
    state_dir: str, number: int, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """The bytes of a log from ``start`` to ``end``; nothing where it was pruned."""
    try:
        file = open(log_path(state_dir, number), "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        left = _CHUNK if end is None else end - start
        while left > 0 and (chunk := file.read(min(left, _CHUNK))):
            yield chunk
            left -= 0 if end is None else len(chunk)


def log_of(db: Database, deployment: Deployment, *, failed: bool) -> Iterator[bytes]:
    """A deployment's output as it was kept; ``failed``: only that of the step that failed."""
    if not failed:
        return read_log(db.state_dir, deployment.number)
    stage = failed_stage(deployment)
    if stage is None:
        return iter(())
    step = _failed_step(deployment, stage)
    if step is None or step.log_start is None:
        return read_log(db.state_dir, deployment.number, stage.log_start, stage.log_end)
    output = read_log(db.state_dir, deployment.number, step.log_start, step.log_end)
    return _only(deployment.failure, output) if _ran_beside(step, stage.steps) else output


def _ran_beside(step: StepRecord, steps: Sequence[StepRecord]) -> bool:
    """Whether what others printed at the same time stands between what it printed."""
    end, start = step.log_end or 0, step.log_start or 0
    return any(
        other is not step and (other.log_start or 0) < end and (other.log_end or 0) > start
        for other in steps
    )


def _only(failure: Failure | None, output: Iterator[bytes]) -> Iterator[bytes]:
    """The lines that have the number of the step that failed in front."""
    mark = f"[{failure.step if failure else ''}] ".encode()
    lines = b"".join(output).splitlines(keepends=True)
    return (line for line in lines if line.startswith(mark))


def failed_stage(deployment: Deployment) -> StageRecord | None:
    """The one that the deployment failed in; the way back, which may fail too, comes after it."""
    name = deployment.failure.stage if deployment.failure else None
    failed = [stage for stage in deployment.stages if stage.status == "failed"]
    return next((stage for stage in failed if stage.name == name), failed[0] if failed else None)


def _failed_step(deployment: Deployment, stage: StageRecord) -> StepRecord | None:
    """Its last try; None where no step failed, but a fetch or a health check."""
    failure = deployment.failure
    if failure is None or failure.step is None:  # what explains a check stands after its tries
        return None
    command = failure.command if failure.stage == stage.name else None
    tries = [step for step in stage.steps if step.command == command]
    return tries[-1] if tries else None
