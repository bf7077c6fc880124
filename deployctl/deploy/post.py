"""What a pipeline wants done once a deployment has ended, and that is in the record."""

from __future__ import annotations

import os
from dataclasses import replace

from deployctl.deploy.attempt import Attempt, Outcome
from deployctl.deploy.journal import StageFailed
from deployctl.deploy.stages import run_commands
from deployctl.deploy.steps import StageContext
from deployctl.errors import DeployctlError, Interrupted
from deployctl.releases.release_config import config_of_release
from deployctl.store import deployments
from deployctl.system.command import Command
from deployctl.system.signals import interruptible
from deployctl.values.deployment import IDLE, REFUSED


def run_post(attempt: Attempt, outcome: Outcome) -> BaseException | None:
    """Run the commands of ``post`` -> what interrupted them, if it was more than a cancel.

    Whatever they do, the outcome stays what it is. Those of a deployment that somebody ended are
    only the ones that always run.
    """
    if outcome.phase in (*IDLE, REFUSED):
        return None
    try:
        commands = _commands(attempt, outcome)
        if not commands:
            return None
        with interruptible():
            run_commands(attempt.journal, "post", commands, _context(attempt, outcome))
    except (DeployctlError, OSError, StageFailed) as error:
        attempt.journal.line(f"warning: post: {error}; the deployment is {outcome.status} anyway")
    except (KeyboardInterrupt, Interrupted) as interruption:
        by = deployments.cancelled_by(attempt.site.db, attempt.deployment.number)
        return None if by else interruption
    return None


def _commands(attempt: Attempt, outcome: Outcome) -> tuple[Command, ...]:
    """Where a pipeline is not known, because its file is wrong, only what repos.yml says runs."""
    pipeline = attempt.config.pipeline if attempt.config else attempt.site.repo.pipeline
    post = pipeline.post
    depends = {"succeeded": post.success, "cancelled": ()}.get(outcome.status, post.failure)
    return (*depends, *post.always)


def _context(attempt: Attempt, outcome: Outcome) -> StageContext:
    """In what is live now; where nothing is, in what was built, or in the root directory."""
    site, target = attempt.site, attempt.target
    places = [site.layout.live_directory()]
    if target is not None:
        places.append(site.layout.directory(target.name))
    place = next(filter(os.path.isdir, places), "/")
    context = attempt.step_context(
        attempt.config or config_of_release(site, None),
        target.revision if target else attempt.deployment.revision,
        target.name if target else attempt.deployment.release,
        place,
    )
    return replace(context, env={**context.env, "DEPLOYCTL_STATUS": outcome.status})
