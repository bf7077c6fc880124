"""Check, queue and run the deployments and rollbacks that a person, or cron, asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deployctl.config.refs import is_branch_name
from deployctl.deploy import plan as planned
from deployctl.deploy.admission import Runtime
from deployctl.deploy.attempt import reread
from deployctl.deploy.fetch import choose_revision
from deployctl.deploy.foreground import refuse_if_locked, run_when_admitted, run_without_waiting
from deployctl.errors import RefusedError, UsageError
from deployctl.releases.choose import rollback_target
from deployctl.releases.site import Site, remote_tip
from deployctl.store import deployments, locks_and_holds, queue
from deployctl.store.locks_and_holds import describe_hold
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.system.wake import start_worker
from deployctl.values.deployment import Deployment, Origin

_SHA = re.compile(r"[0-9a-f]{4,64}", re.ASCII)


@dataclass(frozen=True)
class DeployRequest:
    """A request for a deployment, from the options of the command.

    ``ref`` is the name of a branch or tag, None for what the repo follows. ``revision`` is (the
    beginning of) a sha, None for the tip of the ref. ``force`` deploys a held or unreachable
    revision as well. ``if_changed`` deploys only if the tip is not live yet. Without ``wait`` the
    request fails if it cannot run at once. Raises UsageError if ``revision`` is not a sha.
    """

    origin: Origin
    ref: str | None = None
    revision: str | None = None
    force: bool = False
    if_changed: bool = False
    wait: bool = True

    def __post_init__(self) -> None:
        if self.revision is not None and not _SHA.fullmatch(self.revision):
            raise UsageError(
                f"--revision {self.revision} is not a commit's sha (or the beginning of one, at "
                "least 4 digits); for a branch or tag there is --ref"
            )


@dataclass(frozen=True)
class Unchanged:
    """The answer that the requested revision is live already.

    ``revision`` is its full sha. ``deployment`` made it live; None if that is not known.
    """

    revision: str
    deployment: Deployment | None


def find_unchanged(site: Site, request: DeployRequest) -> Unchanged | None:
    """Return Unchanged if ``if_changed`` is set and the requested revision is live; else None.

    The remote is asked for its tip. Raises GitError if it cannot be asked.
    """
    live = site.layout.live() if request.if_changed else None
    if live is None or live.revision is None:
        return None
    wanted = request.revision or site.mirror.remote_tip(_full_ref(site, request.ref))
    if wanted is None or not live.revision.startswith(wanted):
        return None
    made_live_by = deployments.find_that_made_live(
        site.db, site.repo.name, live.revision, live.release
    )
    return Unchanged(live.revision, made_live_by)


def deploy_here(runtime: Runtime, site: Site, request: DeployRequest) -> Deployment:
    """Queue the deployment and run it in this process; return how it ended.

    If ``wait`` is set, wait until it is admitted, or follow it if another process runs it.
    Otherwise raise BusyError, with nothing queued, if it cannot run at once.
    """
    if not request.wait:
        return run_without_waiting(runtime, site, lambda: _queue(site, request))
    return run_when_admitted(runtime, site, _queue(site, request))


def queue_and_start_worker(runtime: Runtime, site: Site, request: DeployRequest) -> Deployment:
    """Queue the deployment, start a worker that runs it, and return the queued deployment."""
    number = _queue(site, request)
    start_worker(runtime.config.path, runtime.config.state_dir, runtime.config.env_names)
    return reread(runtime.db, number)


def deployment_plan(site: Site, request: DeployRequest) -> list[str]:
    """Return what a deployment would do, one line per step.

    The ref is fetched into the mirror; nothing else is changed. Raises what the deployment would
    fail with before the stages of its pipeline: RefusedError, UsageError, ConfigError, GitError.
    """
    ref = _check_request(site, request)
    tip = site.mirror.fetch(ref)
    revision = choose_revision(site.mirror, ref, tip, request.revision, forced=request.force)
    commit = site.mirror.commit(revision)
    return planned.plan_deployment(site, ref, commit.revision, commit.subject)


def _queue(site: Site, request: DeployRequest) -> int:
    """Check and queue the deployment; return its number."""
    ref = _check_request(site, request)
    with site.db.writing() as connection:
        return queue.enqueue(
            connection,
            repo=site.repo.name,
            trigger=request.origin.trigger,
            actor=request.origin.actor,
            now=request.origin.now,
            order=queue.Order(
                ref=ref,
                revision=request.revision,
                by_name=request.ref is not None or request.revision is not None,
                forced=request.force,
            ),
        )


def _check_request(site: Site, request: DeployRequest) -> str:
    """Return the full name of the requested ref; raise the error if the request cannot succeed.

    Raises RefusedError (locked or held), ConfigError (a missing secret), or UsageError (no such
    ref), before anything is queued.
    """
    refuse_if_locked(site)
    for secret in site.repo.secrets.values():
        secret.reveal()
    ref = _full_ref(site, request.ref)
    _refuse_if_held(site, request, ref)
    return ref


def _refuse_if_held(site: Site, request: DeployRequest, ref: str) -> None:
    """Raise RefusedError if the requested revision is held and ``force`` is not set.

    The deployment itself would be refused, too; asking before it is queued keeps it out of the
    history.
    """
    name = site.repo.name
    if request.force or locks_and_holds.hold_of(site.db, name) is None:
        return
    tip = site.mirror.remote_tip(ref)
    if tip and ref == site.repo.branch_ref and locks_and_holds.hold_on(site.db, name, tip) is None:
        return  # the branch has moved: the deployment will lift all holds of the repo
    wanted = request.revision or tip
    hold = locks_and_holds.hold_on(site.db, name, wanted) if wanted else None
    if hold is not None:
        raise RefusedError(describe_hold(name, hold))


def _full_ref(site: Site, ref: str | None) -> str:
    """Return the full name of a ref, such as ``refs/heads/main``.

    ``ref`` None: the branch or newest tag that the repo follows. The remote is asked only for the
    full name, because git ls-remote takes ``main`` for ``changeset-release/main`` as well. Raises
    UsageError if the name is not legal, is unknown to the remote, or is both a branch and a tag.
    """
    if ref is None:
        return site.repo.branch_ref or remote_tip(site).ref
    if not is_branch_name(ref.removeprefix("refs/heads/").removeprefix("refs/tags/")):
        raise UsageError(f"{ref} is not a legal name of a branch or tag")
    if ref.startswith("refs/"):
        return ref
    found = [
        name for name in (f"refs/heads/{ref}", f"refs/tags/{ref}") if site.mirror.remote_tip(name)
    ]
    if not found:
        raise UsageError(f"{site.repo.url} has no branch or tag {ref}")
    if len(found) > 1:
        raise UsageError(f"{ref} is a branch and a tag: say {' or '.join(found)}")
    return found[0]


def refuse_if_unusable(site: Site, target: ReleaseRecord) -> None:
    """Raise RefusedError or LayoutError if a rollback could not switch to this release.

    For a dry run: it checks what can be checked without switching.
    """
    site.layout.check()
    if target.state == GONE or not site.layout.usable(target.name, target.revision):
        raise RefusedError(
            f"{target.revision[:12]} is no longer on disk: a rollback would build it again; see: "
            f"deployctl rollback {site.repo.name} --to {target.revision[:12]} -n"
        )


def request_rollback(site: Site, to: str | None, origin: Origin) -> int:
    """Queue a rollback, and return the number of its deployment.

    ``to`` is the number of a deployment or (the beginning of) a sha; None for the last good
    release. The release is chosen when the rollback runs, because a deployment that runs now may
    change what is live. If none runs, the choice is tried now, so that an impossible rollback
    raises RefusedError or UsageError at once.

    Without ``to`` the rollback undoes the running deployment or, where none runs, the one that is
    live. If a rollback that undoes the same waits or runs already, its number is returned.
    """
    db, name = site.db, site.repo.name
    running = deployments.running(db, name)
    if not running:
        rollback_target(site, to)
    undone = running or _made_live_by(site)
    order = queue.Order.rollback(to, undoes=undone.number if undone else None)
    with db.writing() as connection:
        return queue.enqueue(
            connection,
            repo=name,
            trigger=origin.trigger,
            actor=origin.actor,
            now=origin.now,
            order=order,
        )


def _made_live_by(site: Site) -> Deployment | None:
    """Return the deployment that made live what is live; None if deployctl did not deploy it."""
    live = site.layout.live()
    if live is None:
        return None
    return deployments.find_that_made_live(site.db, site.repo.name, live.revision, live.release)
