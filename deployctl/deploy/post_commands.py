"""Run the commands of ``post``, after the outcome of a deployment is recorded."""

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
from deployctl.values.deployment import PHASES_WITHOUT_EFFECT, REFUSED


def run_post(attempt: Attempt, outcome: Outcome) -> BaseException | None:
    """Run the commands of ``post`` as a stage; return the interruption that ended them, or None.

    The outcome of the deployment does not change, even if a command fails: that is only logged. An
    interruption by `deployctl cancel` is not returned, as it must not end the process. Nothing runs
    for a deployment that had nothing to do or was refused.
    """
    if outcome.phase in (*PHASES_WITHOUT_EFFECT, REFUSED):
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
        actor = deployments.cancelled_by(attempt.site.db, attempt.deployment.number)
        return None if actor else interruption
    return None


def _commands(attempt: Attempt, outcome: Outcome) -> tuple[Command, ...]:
    """Return the commands for the status of the outcome, then those that always run.

    After a cancelled deployment only the latter run. If the pipeline is not known, because the
    project's pipeline file is wrong, the commands of repos.yml are taken.
    """
    pipeline = attempt.config.pipeline if attempt.config else attempt.site.repo.pipeline
    post = pipeline.post
    by_status = {"succeeded": post.success, "cancelled": ()}.get(outcome.status, post.failure)
    return (*by_status, *post.always)


def _context(attempt: Attempt, outcome: Outcome) -> StageContext:
    """Return the context of the commands, which have DEPLOYCTL_STATUS in their environment.

    They run in the live directory; if there is none, in the directory of the release that was
    built; if there is none either, in the root directory.
    """
    site, target = attempt.site, attempt.target
    directories = [site.layout.live_directory()]
    if target is not None:
        directories.append(site.layout.directory(target.name))
    directory = next(filter(os.path.isdir, directories), "/")
    context = attempt.step_context(
        attempt.config or config_of_release(site, None),
        target.revision if target else attempt.deployment.revision,
        target.name if target else attempt.deployment.release,
        directory,
    )
    return replace(context, env={**context.env, "DEPLOYCTL_STATUS": outcome.status})
