"""Get the release that is to go live: build it, or choose one that is on disk already."""

from __future__ import annotations

import functools
from dataclasses import replace

from deployctl.deploy.attempt import Attempt, Target
from deployctl.deploy.journal import StageJournal
from deployctl.deploy.limits import limits_of, low_priority_prefix
from deployctl.deploy.stages import WhenFacts, run_stages
from deployctl.errors import DeployctlError, RefusedError, UsageError
from deployctl.releases.caches import copy_caches
from deployctl.releases.choose import find_release, rollback_target
from deployctl.releases.disk_space import require_room
from deployctl.releases.release_config import config_of_release, config_of_revision
from deployctl.store import deployments, releases
from deployctl.store.releases import GONE, ReleaseRecord


def build_release(attempt: Attempt, revision: str) -> Target:
    """Build a new release of the revision: prepare its files, then run all stages.

    Nothing that is live changes, except with the strategy ``in_place``. Raises StageFailed.
    """
    with attempt.journal.stage("prepare") as stage:
        attempt.config = config_of_revision(attempt.site, revision)
        attempt.site.layout.check()
        require_room(attempt.site, stage)
        target = _prepare(attempt, stage, attempt.deployment.number, revision)
    return _run_through_stages(attempt, target)


def _prepare(attempt: Attempt, stage: StageJournal, number: int, revision: str) -> Target:
    """Put the files of the revision into the directory where the stages run.

    The release is recorded before its files are written, so that recovery can remove them after a
    crash. ``number`` is that of the deployment that builds the release, or first built it.
    """
    site, layout = attempt.site, attempt.site.layout
    target = Target(number, revision, layout.new_name(number, revision))
    with site.db.writing() as connection:
        config = attempt.need_config().to_record()
        releases.begin(connection, site.repo.name, number, target.name, revision, config)
    attempt.journal.note(release=target.name)
    attempt.target = target
    _record_adopted_release(attempt)
    for line in layout.prepare(number, revision, target.name):
        stage.line(line)
    for line in copy_caches(
        site, attempt.need_config().pipeline.cache, target.name, low_priority_prefix(site.repo)
    ):
        stage.line(line)
    return target


def _run_through_stages(attempt: Attempt, target: Target) -> Target:
    """Run the stages of the pipeline in the directory of the release, and return the release."""
    attempt.queue_started_notice()
    directory = attempt.site.layout.directory(target.name)
    config = attempt.need_config()
    context = attempt.step_context(config, target.revision, target.name, directory)
    context = replace(context, limits=limits_of(attempt.site.repo, attempt.journal.line))
    failed = run_stages(
        attempt.journal, config.pipeline.stages, context, _when_facts(attempt, target)
    )
    if failed:
        attempt.journal.note(reason=f"failed, as allow_failure lets it: {', '.join(failed)}")
    return target


def _when_facts(attempt: Attempt, target: Target) -> WhenFacts:
    """Return the facts that ``when`` of a stage is compared with.

    The changed paths are computed only when a stage asks for them, and once.
    """
    site, live, deployment = attempt.site, attempt.previous, attempt.deployment
    mirror = site.mirror

    @functools.cache
    def changed() -> list[str] | None:
        if live is None or live.revision is None or not mirror.has(live.revision):
            return None
        return mirror.changed_paths(live.revision, target.revision)

    # A rollback has no ref of its own: the deployment that built the release has one.
    built_by = deployments.get(site.db, target.number)
    ref = deployment.ref or (built_by.ref if built_by else None)
    return WhenFacts(ref, deployment.task, changed)


def _record_adopted_release(attempt: Attempt) -> None:
    """Record what is live as a good release, if deployctl did not deploy it but can keep it.

    So a later rollback can go back to it. Such a release has the number 0.
    """
    site = attempt.site
    revision = site.layout.adopt()
    if revision is None or find_release(site, revision, None):
        return
    with site.db.writing() as connection:
        releases.begin(connection, site.repo.name, 0, None, revision)
        releases.set_state(connection, site.repo.name, 0, "good")


def choose_release(attempt: Attempt) -> Target:
    """Return the release that a rollback goes back to, on disk and ready to be switched to.

    It is chosen now and not when the rollback was queued: this process holds the repo's lock file,
    so nothing else can change what is live. A release that is no longer on disk is built again, as
    a deployment builds it. Raises StageFailed, and RefusedError if there is nothing to go back to.
    """
    with attempt.journal.stage("prepare") as stage:
        attempt.site.layout.check()
        chosen = _choose_and_record_release(attempt)
        if chosen.state != GONE:
            attempt.config = config_of_release(attempt.site, chosen)
            # With the trigger "auto" the live release has failed its health check: a missing
            # secret must not keep it live.
            if attempt.deployment.trigger != "auto":
                attempt.need_secrets(attempt.config)
            return Target(chosen.number, chosen.revision, chosen.name)
        require_room(attempt.site, stage)
        target = _prepare_removed_release(attempt, stage, chosen)
    return _run_through_stages(attempt, target)


def _prepare_removed_release(attempt: Attempt, stage: StageJournal, gone: ReleaseRecord) -> Target:
    """Prepare a release that is no longer on disk once more, under its old number."""
    site = attempt.site
    stage.line(f"{gone.revision[:12]} is no longer on disk: building it again")
    site.mirror.ensure_commit(gone.revision, f"refs/heads/{site.repo.branch}")
    attempt.config = config_of_revision(site, gone.revision)
    try:
        site.layout.discard(gone.number, gone.name)
    except DeployctlError as error:  # part of it stays; the new release gets another name
        stage.line(f"warning: {error}")
    return _prepare(attempt, stage, gone.number, gone.revision)


def _choose_and_record_release(attempt: Attempt) -> ReleaseRecord:
    """Choose the release that the rollback asks for, and record it in the deployment.

    The deployment that this rollback undoes (the one that made live what is live now) is recorded
    as ``rollback_of``. Raises RefusedError if there is no such release, or if ``rollback_of`` was
    given with the request and is not live any more.
    """
    site, live = attempt.site, attempt.previous
    try:
        chosen = rollback_target(site, attempt.deployment.rollback_to)
    except UsageError as error:
        # Not a usage error now: the command that queued this rollback may have ended long ago.
        raise RefusedError(str(error)) from None
    attempt.deployment = replace(attempt.deployment, revision=chosen.revision, release=chosen.name)
    undone = None
    if live is not None:
        undone = deployments.find_that_made_live(
            site.db, site.repo.name, live.revision, live.release
        )
    expected = attempt.deployment.rollback_of
    if expected is not None and expected != (undone.number if undone else None):
        raise RefusedError(f"#{expected}, which this rollback was to undo, is not live")
    attempt.journal.note(
        revision=chosen.revision,
        release=chosen.name,
        subject=chosen.subject,
        rollback_of=undone.number if undone else None,
    )
    return chosen
