"""The story of one deployment, top to bottom: fetch, build, switch, restart, check, or go back."""

from __future__ import annotations

from dataclasses import replace

from deployctl import refusals
from deployctl.announced import why_not_what_was_announced
from deployctl.attempt import Attempt, Outcome, Target, begin
from deployctl.deployment import REFUSED, Deployment, Failure
from deployctl.errors import DeployctlError, Interrupted, RefusedError, UsageError
from deployctl.git.mirror import Mirror
from deployctl.git.repository import is_sha
from deployctl.journal import StageFailed, StageJournal
from deployctl.output import Output
from deployctl.page import refresh_page
from deployctl.pipeline import check_health, restart, run_stages
from deployctl.prune import prune
from deployctl.rollback import choose_target, find_release
from deployctl.room import need_room, remember_sizes
from deployctl.signals import interruptible, shielded
from deployctl.site import Site, remote_tip
from deployctl.store import deployments, freezes, releases
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.undo import go_back, undo
from deployctl.unneeded import Unneeded, why_unneeded


def carry_out(site: Site, deployment: Deployment, show: Output) -> Deployment:
    """Bring a claimed deployment to its end; the caller holds the repo's lock.

    What interrupts it leaves again as what it was, after what was live is live again and that is
    recorded; `deployctl cancel` ends this one deployment and not the process.
    """
    with begin(site, deployment, show) as attempt:
        outcome, raised = _settle(attempt)
        with shielded():
            ended = attempt.conclude(outcome)
        prune(site, attempt.journal)
        remember_sizes(site, attempt.journal)
        refresh_page(site, attempt.journal)
    if raised is not None:
        raise raised
    return ended


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
                attempt.stopped_by_hand()
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
    try:
        if attempt.deployment.task == "rollback":
            target = _earlier(attempt)
        else:
            revision, subject = _fetch(attempt)
            unneeded = why_unneeded(attempt, revision, subject)
            if unneeded is not None:
                return _nothing_to_do(attempt, unneeded)
            target = _build(attempt, revision)
    except RefusedError as refused:
        return Outcome("cancelled", reason=str(refused), phase=REFUSED)
    except StageFailed as failed:
        return undo(attempt, Outcome("failed", failure=failed.failure))
    return _go_live(attempt, target)


def _why_not_begun(attempt: Attempt, trouble: DeployctlError) -> Failure:
    try:
        with attempt.journal.stage("prepare"):
            raise trouble
    except StageFailed as failed:
        return failed.failure


def _fetch(attempt: Attempt) -> tuple[str, str]:
    """Bring the mirror up to date -> the revision that is to go live, and its subject."""
    site, deployment = attempt.site, attempt.deployment
    with attempt.journal.stage("fetch") as stage:
        ref = deployment.ref or site.repo.branch_ref or remote_tip(site).ref
        tip = site.mirror.fetch(ref)
        wanted, forced = deployment.wanted_revision, deployment.forced
        revision = choose(site.mirror, ref, tip, wanted, forced=forced)
        commit = site.mirror.commit(revision)
        odd = why_not_what_was_announced(site, deployment, ref, tip)
        if odd is not None:
            stage.line(odd)
            attempt.journal.note(reason=odd)
        stage.line(f"{ref} is at {tip[:12]}; deploying {revision[:12]} {commit.subject}")
        subject = attempt.journal.masked(commit.subject)
        attempt.journal.note(ref=ref, revision=revision, subject=subject)
        attempt.deployment = replace(deployment, ref=ref, revision=revision)
        _mind_the_hold(attempt, revision, tip if ref == site.repo.branch_ref else None)
    return revision, commit.subject


def choose(mirror: Mirror, ref: str, tip: str, wanted: str | None, *, forced: bool) -> str:
    """The tip, or the revision a person asked for where it is reachable from there."""
    if wanted is None:
        return tip
    if not mirror.has(wanted) and forced and is_sha(wanted):
        mirror.fetch_revision(wanted)
    if forced:
        return mirror.resolve(wanted)
    if not mirror.has(wanted) or not mirror.is_ancestor(mirror.resolve(wanted), tip):
        raise RefusedError(
            f"{wanted} is not reachable from {ref}: deploy a commit of that branch, or --force"
        )
    return mirror.resolve(wanted)


def _mind_the_hold(attempt: Attempt, revision: str, tip: str | None) -> None:
    """A held revision is refused unless a person insists; a branch that moved lifts the holds.

    ``tip`` is that of the repo's own branch, where it is known: one that is not held has moved.
    What a person insisted on is held until it has succeeded.
    """
    db, repo = attempt.site.db, attempt.site.repo.name
    if tip is not None and freezes.hold_on(db, repo, tip) is None:
        freezes.lift_holds(db, repo)
    hold = freezes.hold_on(db, repo, revision)
    if hold is not None and not attempt.deployment.forced:
        raise RefusedError(refusals.held(repo, hold))


def _nothing_to_do(attempt: Attempt, unneeded: Unneeded) -> Outcome:
    live = attempt.previous
    attempt.journal.note(release=live.release if live else None)
    return Outcome("succeeded", reason=unneeded.reason, phase=unneeded.phase, quiet=True)


def _build(attempt: Attempt, revision: str) -> Target:
    """A new release of the revision, all stages passed, nothing live touched (but in place)."""
    with attempt.journal.stage("prepare") as stage:
        attempt.site.layout.check()
        need_room(attempt.site, attempt.journal, stage)
        target = _prepare(attempt, stage, attempt.deployment.number, revision)
    return _run_through_stages(attempt, target)


def _prepare(attempt: Attempt, stage: StageJournal, number: int, revision: str) -> Target:
    """The revision's files where the stages run; what is recorded first tells recovery of them."""
    site, layout = attempt.site, attempt.site.layout
    target = Target(number, revision, layout.new_name(number, revision))
    with site.db.writing() as connection:
        releases.begin(connection, site.repo.name, number, target.name, revision)
    attempt.journal.note(release=target.name)
    attempt.target = target
    _adopt(attempt)
    for told in layout.prepare(number, revision, target.name):
        stage.line(told)
    return target


def _run_through_stages(attempt: Attempt, target: Target) -> Target:
    attempt.announce()
    directory = attempt.site.layout.directory(target.name)
    around = attempt.surroundings(target.revision, target.name, directory)
    run_stages(attempt.journal, attempt.site.repo.stages, around)
    return target


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
            return Target(chosen.number, chosen.revision, chosen.name)
        need_room(attempt.site, attempt.journal, stage)
        target = _prepare_again(attempt, stage, chosen)
    return _run_through_stages(attempt, target)


def _prepare_again(attempt: Attempt, stage: StageJournal, gone: ReleaseRecord) -> Target:
    site = attempt.site
    stage.line(f"{gone.revision[:12]} is no longer on disk: building it again")
    site.mirror.bring(gone.revision, f"refs/heads/{site.repo.branch}")
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
    undone = live and deployments.made_live(site.db, site.repo.name, live.revision, live.release)
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
        around = attempt.surroundings(target.revision, target.name, site.layout.live_directory())
        restart(journal, "restart", site.repo.restart, around)
        check_health(journal, "healthcheck", site.repo.healthcheck, around)
    except StageFailed as failed:
        if failed.failure.stage == "switch" and site.layout.live() == attempt.previous:
            attempt.enter("building")  # nothing live was touched, so there is nothing to restart
            return undo(attempt, Outcome("failed", failure=failed.failure))
        return go_back(attempt, target, failed.failure)
    attempt.target = target
    if attempt.deployment.task == "deploy" or attempt.previous is None:
        return Outcome("succeeded")
    left, release = attempt.previous.revision, attempt.previous.release
    record = find_release(site, left, release)
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
