"""Execute one deployment, from top to bottom: fetch, build, switch, restart, check, or go back."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace

from deployctl.deploy.attempt import Attempt, Outcome, Target, begin
from deployctl.deploy.conclude import conclude, log_end
from deployctl.deploy.fetch import fetch
from deployctl.deploy.journal import StageFailed, StageJournal
from deployctl.deploy.limits import limits_of, low_priority_prefix
from deployctl.deploy.post import run_post
from deployctl.deploy.recover import has_attempts_left, queue_again
from deployctl.deploy.restore import go_back, undo
from deployctl.deploy.skip import AUTOMATIC, Skip, reason_to_skip
from deployctl.deploy.stages import WhenFacts, check_health, run_commands, run_stages
from deployctl.errors import DeployctlError, Interrupted, RefusedError, UsageError
from deployctl.output.page import refresh_page
from deployctl.output.screen import Output
from deployctl.releases.caches import copy_caches
from deployctl.releases.choose import choose_target, find_release
from deployctl.releases.prune import prune
from deployctl.releases.release_config import config_of_release, config_of_revision
from deployctl.releases.room import record_sizes, require_room
from deployctl.releases.site import Site
from deployctl.store import deployments, releases
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.system.signals import interruptible, shielded
from deployctl.values.deployment import REFUSED, Deployment, Failure


def execute(site: Site, deployment: Deployment, output: Output) -> Deployment:
    """Bring a claimed deployment to its end; the caller holds the repo's lock.

    What interrupts it leaves again as what it was, after what was live is live again and that is
    recorded; `deployctl cancel` ends this one deployment and not the process.
    """
    with begin(site, deployment, output) as attempt:
        outcome, raised = _settle(attempt)
        if isinstance(raised, Interrupted) and _is_to_run_again(attempt, outcome):
            _put_back(attempt, raised)
            raise raised
        with shielded():
            ended = conclude(attempt, outcome)
        raised = run_post(attempt, outcome) or raised
        log_end(attempt, ended)
        ended = deployments.get(site.db, ended.number) or ended  # with the stage of post
        prune(site, attempt.journal)
        record_sizes(site, attempt.journal)
        refresh_page(site, attempt.journal)
    if raised is not None:
        raise raised
    return ended


def _is_to_run_again(attempt: Attempt, outcome: Outcome) -> bool:
    """Who waits for one at a terminal knows that it was stopped; nobody knows it of the others."""
    deployment, stopped = attempt.deployment, outcome.status == "cancelled"
    return stopped and deployment.trigger in AUTOMATIC and has_attempts_left(deployment)


def _put_back(attempt: Attempt, interruption: Interrupted) -> None:
    site, deployment = attempt.site, attempt.deployment
    with shielded():
        prune(site, attempt.journal)
        reason = queue_again(site, deployment, f"interrupted ({_name(interruption)})")
        attempt.journal.line(f"{deployment.repo} #{deployment.number}: {reason}")
        refresh_page(site, attempt.journal)


def _settle(attempt: Attempt) -> tuple[Outcome, BaseException | None]:
    """The outcome, and what must be raised again once that is recorded."""
    try:
        with interruptible():
            return _bring_live(attempt), None
    except (KeyboardInterrupt, Interrupted) as interruption:
        with shielded():
            by = deployments.cancelled_by(attempt.site.db, attempt.deployment.number)
            why = f"cancelled by {by}" if by else f"interrupted ({_name(interruption)})"
            outcome = undo(attempt, Outcome("cancelled", reason=why))
            if isinstance(interruption, KeyboardInterrupt):
                attempt.mark_stopped()
            return outcome, None if by else interruption
    except DeployctlError as error:
        with shielded():
            return undo(attempt, Outcome("failed", reason=str(error))), error
    except Exception as bug:  # noqa: BLE001 - it is raised again once what was live is live again
        with shielded():
            return undo(attempt, Outcome("failed", reason="a bug in deployctl")), bug


def _bring_live(attempt: Attempt) -> Outcome:
    if attempt.trouble is not None:
        return Outcome("failed", failure=_why_not_begun(attempt, attempt.trouble))
    _tell_what_asked_for_it(attempt)
    try:
        if attempt.deployment.task == "rollback":
            target = _earlier(attempt)
        else:
            revision, subject = fetch(attempt)
            unneeded = reason_to_skip(attempt, revision, subject)
            if unneeded is not None:
                return _nothing_to_do(attempt, unneeded)
            target = _build(attempt, revision)
    except RefusedError as refused:
        return Outcome("cancelled", reason=str(refused), phase=REFUSED)
    except StageFailed as failed:
        return undo(attempt, Outcome("failed", failure=failed.failure))
    return _go_live(attempt, target)


def _tell_what_asked_for_it(attempt: Attempt) -> None:
    """A late failure of what is live: the check of that is the first stage of the way back."""
    failure = attempt.deployment.failure
    if failure is None:
        return
    with contextlib.suppress(StageFailed), attempt.journal.stage(failure.stage) as stage:
        for line in (attempt.deployment.reason or "", *failure.tail.splitlines()):
            stage.line(line)
        raise StageFailed(failure)


def _why_not_begun(attempt: Attempt, trouble: DeployctlError) -> Failure:
    try:
        with attempt.journal.stage("prepare"):
            raise trouble
    except StageFailed as failed:
        return failed.failure


def _nothing_to_do(attempt: Attempt, unneeded: Skip) -> Outcome:
    live = attempt.previous
    attempt.journal.note(release=live.release if live else None)
    return Outcome("succeeded", reason=unneeded.reason, phase=unneeded.phase, quiet=True)


def _build(attempt: Attempt, revision: str) -> Target:
    """A new release of the revision, all stages passed, nothing live touched (but in place)."""
    with attempt.journal.stage("prepare") as stage:
        attempt.config = config_of_revision(attempt.site, revision)
        attempt.site.layout.check()
        require_room(attempt.site, stage)
        target = _prepare(attempt, stage, attempt.deployment.number, revision)
    return _run_through_stages(attempt, target)


def _prepare(attempt: Attempt, stage: StageJournal, number: int, revision: str) -> Target:
    """The revision's files where the stages run; what is recorded first tells recovery of them."""
    site, layout = attempt.site, attempt.site.layout
    target = Target(number, revision, layout.new_name(number, revision))
    with site.db.writing() as connection:
        config = attempt.need_config().stored()
        releases.begin(connection, site.repo.name, number, target.name, revision, config)
    attempt.journal.note(release=target.name)
    attempt.target = target
    _adopt(attempt)
    for told in layout.prepare(number, revision, target.name):
        stage.line(told)
    for told in copy_caches(
        site, attempt.need_config().pipeline.cache, target.name, low_priority_prefix(site.repo)
    ):
        stage.line(told)
    return target


def _run_through_stages(attempt: Attempt, target: Target) -> Target:
    attempt.announce()
    directory = attempt.site.layout.directory(target.name)
    config = attempt.need_config()
    context = attempt.step_context(config, target.revision, target.name, directory)
    context = replace(context, limits=limits_of(attempt.site.repo, attempt.journal.line))
    failed = run_stages(
        attempt.journal, config.pipeline.stages, context, _occasion(attempt, target)
    )
    if failed:
        attempt.journal.note(reason=f"failed, as allow_failure lets it: {', '.join(failed)}")
    return target


def _occasion(attempt: Attempt, target: Target) -> WhenFacts:
    """What stages may depend on."""
    site, live, deployment = attempt.site, attempt.previous, attempt.deployment
    mirror = site.mirror

    @functools.cache
    def changed() -> list[str] | None:
        if live is None or live.revision is None or not mirror.has(live.revision):
            return None
        return mirror.changed_paths(live.revision, target.revision)

    built_by = deployments.get(site.db, target.number)  # a rollback itself has no ref
    ref = deployment.ref or (built_by.ref if built_by else None)
    return WhenFacts(ref, deployment.task, changed)


def _adopt(attempt: Attempt) -> None:
    """What somebody else had put there is as good a release to go back to as any."""
    site = attempt.site
    revision = site.layout.adopt()
    if revision is None or find_release(site, revision, None):
        return
    with site.db.writing() as connection:
        releases.begin(connection, site.repo.name, 0, None, revision)
        releases.set_state(connection, site.repo.name, 0, "good")


def _earlier(attempt: Attempt) -> Target:
    """The release that a rollback goes to, chosen now that nothing else changes what is live.

    What is no longer on disk is built again, as a deployment builds it.
    """
    with attempt.journal.stage("prepare") as stage:
        attempt.site.layout.check()
        chosen = _chosen(attempt)
        if chosen.state != GONE:
            attempt.config = config_of_release(attempt.site, chosen)
            if attempt.deployment.trigger != "auto":  # what is live is well: there is time for it
                attempt.need_secrets(attempt.config)
            return Target(chosen.number, chosen.revision, chosen.name)
        require_room(attempt.site, stage)
        target = _prepare_again(attempt, stage, chosen)
    return _run_through_stages(attempt, target)


def _prepare_again(attempt: Attempt, stage: StageJournal, gone: ReleaseRecord) -> Target:
    site = attempt.site
    stage.line(f"{gone.revision[:12]} is no longer on disk: building it again")
    site.mirror.bring(gone.revision, f"refs/heads/{site.repo.branch}")
    attempt.config = config_of_revision(site, gone.revision)
    try:
        site.layout.discard(gone.number, gone.name)
    except DeployctlError as error:  # half of it is left: the new one gets a name of its own
        stage.line(f"warning: {error}")
    return _prepare(attempt, stage, gone.number, gone.revision)


def _chosen(attempt: Attempt) -> ReleaseRecord:
    """What the request asked for, and what that undoes, as the record has it from here on."""
    site, live = attempt.site, attempt.previous
    try:
        chosen = choose_target(site, attempt.deployment.rollback_to)
    except UsageError as error:  # whoever asked is not there any more to say it in other words
        raise RefusedError(str(error)) from None
    attempt.deployment = replace(attempt.deployment, revision=chosen.revision, release=chosen.name)
    undone = None
    if live is not None:
        undone = deployments.made_live(site.db, site.repo.name, live.revision, live.release)
    asked = attempt.deployment.rollback_of
    if asked is not None and asked != (undone.number if undone else None):
        raise RefusedError(f"what #{asked} brought, which this was to undo, is not live any more")
    attempt.journal.note(
        revision=chosen.revision,
        release=chosen.name,
        subject=chosen.subject,
        rollback_of=undone.number if undone else None,
    )
    return chosen


def _go_live(attempt: Attempt, target: Target) -> Outcome:
    """Switch, restart, check; what fails from here on is rolled back."""
    site, journal = attempt.site, attempt.journal
    attempt.enter("switching")
    try:
        _switch(attempt, target)
        config = attempt.need_config()
        place = site.layout.live_directory()
        context = attempt.step_context(config, target.revision, target.name, place)
        if attempt.deployment.task == "rollback":
            run_commands(journal, "on_rollback", config.pipeline.on_rollback, context)
        run_commands(journal, "restart", config.pipeline.restart, context)
        check_health(journal, "healthcheck", config.pipeline.healthcheck, context)
    except StageFailed as failed:
        if failed.failure.stage == "switch" and site.layout.live() == attempt.previous:
            attempt.enter("building")  # nothing live was touched, so there is nothing to restart
            return undo(attempt, Outcome("failed", failure=failed.failure))
        return go_back(attempt, target, failed.failure)
    return _succeeded(attempt, target)


def _succeeded(attempt: Attempt, target: Target) -> Outcome:
    """Return the outcome of a release that is live and well; a rollback holds what it left."""
    attempt.target = target
    if attempt.deployment.task == "deploy" or attempt.previous is None:
        return Outcome("succeeded")
    left, release = attempt.previous.revision, attempt.previous.release
    record = find_release(attempt.site, left, release)
    newer = record.number if record and record.number > target.number else None
    # Another release of the same revision is live: to hold that would be to hold what is live.
    held = left if left != target.revision else None
    return Outcome("succeeded", held=held, left=newer)


def _switch(attempt: Attempt, target: Target) -> None:
    layout = attempt.site.layout
    with attempt.journal.stage("switch") as stage:
        if attempt.target is not None:  # it was built just now
            layout.complete(target.name, target.revision)
        for line in layout.switch(attempt.deployment.number, target.revision, target.name):
            stage.line(line)


def _name(interruption: BaseException) -> str:
    return getattr(interruption, "signal_name", "Ctrl-C")
