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
    """Yield the bytes of a deployment's log in chunks, from offset ``start`` to ``end``.

    ``end`` None: to the end of the file. Nothing where the log was pruned.
    """
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
    """Return the output of a deployment from its log, in chunks of bytes.

    ``failed``: only the output of the step that failed or, where none is known, of the failed
    stage; nothing where no stage failed.
    """
    if not failed:
        return read_log(db.state_dir, deployment.number)
    stage = failed_stage(deployment)
    if stage is None:
        return iter(())
    step = _failed_step(deployment, stage)
    if step is None or step.log_start is None:
        return read_log(db.state_dir, deployment.number, stage.log_start, stage.log_end)
    output = read_log(db.state_dir, deployment.number, step.log_start, step.log_end)
    if not _ran_in_parallel(step, stage.steps):
        return output
    return _lines_of_failed_step(deployment.failure, output)


def _ran_in_parallel(step: StepRecord, steps: Sequence[StepRecord]) -> bool:
    """Tell whether output of other steps may be between that of a step: their ranges overlap."""
    end, start = step.log_end or 0, step.log_start or 0
    return any(
        other is not step and (other.log_start or 0) < end and (other.log_end or 0) > start
        for other in steps
    )


def _lines_of_failed_step(failure: Failure | None, output: Iterator[bytes]) -> Iterator[bytes]:
    """Return the lines that begin with the number of the failed step, as in ``[2] text``."""
    mark = f"[{failure.step if failure else ''}] ".encode()
    lines = b"".join(output).splitlines(keepends=True)
    return (line for line in lines if line.startswith(mark))


def failed_stage(deployment: Deployment) -> StageRecord | None:
    """Return the stage that a deployment failed in, or None.

    Stages of the rollback come after it and may have failed too.
    """
    name = deployment.failure.stage if deployment.failure else None
    failed = [stage for stage in deployment.stages if stage.status == "failed"]
    return next((stage for stage in failed if stage.name == name), failed[0] if failed else None)


def _failed_step(deployment: Deployment, stage: StageRecord) -> StepRecord | None:
    """Return the last try of the step that failed; None where a fetch or health check failed."""
    failure = deployment.failure
    if failure is None or failure.step is None:  # a health check: its evidence is in the log too
        return None
    command = failure.command if failure.stage == stage.name else None
    tries = [step for step in stage.steps if step.command == command]
    return tries[-1] if tries else None
