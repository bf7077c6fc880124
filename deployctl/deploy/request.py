"""A person's (or cron's) request for a deployment: looked at, queued, waited for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deployctl.config.refs import is_branch_name
from deployctl.deploy import plan as planned
from deployctl.deploy.admission import Runtime
from deployctl.deploy.fetch import choose_revision
from deployctl.deploy.foreground import refuse_if_locked, run_when_admitted, run_without_waiting
from deployctl.errors import RefusedError, UsageError
from deployctl.releases.choose import choose_target
from deployctl.releases.site import Site, remote_tip
from deployctl.store import deployments, freezes, queue
from deployctl.store.freezes import describe_hold
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.system.wake import start_worker
from deployctl.values.deployment import Deployment, Origin

_SHA = re.compile(r"[0-9a-f]{4,64}", re.ASCII)


@dataclass(frozen=True)
class DeployRequest:
    """What to deploy, for whom, and how insistently."""

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
    """What is live is what was asked for; ``deployment`` brought it, where that is known."""

    revision: str
    deployment: Deployment | None


def unchanged(site: Site, request: DeployRequest) -> Unchanged | None:
    """With ``--if-changed``: whether the tip is live already, asked of the remote itself."""
    live = site.layout.live() if request.if_changed else None
    if live is None or live.revision is None:
        return None
    wanted = request.revision or site.mirror.remote_tip(_full_ref(site, request.ref))
    if wanted is None or not live.revision.startswith(wanted):
        return None
    brought = deployments.made_live(site.db, site.repo.name, live.revision, live.release)
    return Unchanged(live.revision, brought)


def deploy_here(runtime: Runtime, site: Site, request: DeployRequest) -> Deployment:
    """Queue, wait for the turn, run: or follow whoever runs it."""
    if not request.wait:
        return run_without_waiting(runtime, site, lambda: _queue(site, request))
    return run_when_admitted(runtime, site, _queue(site, request))


def detach(runtime: Runtime, site: Site, request: DeployRequest) -> Deployment:
    """Queue and start the worker -> the queued deployment."""
    number = _queue(site, request)
    start_worker(runtime.config.path, runtime.config.state_dir, runtime.config.env_names)
    queued = deployments.get(runtime.db, number)
    if queued is None:
        raise LookupError(f"deployment {number} vanished from the record")
    return queued


def plan(site: Site, request: DeployRequest) -> list[str]:
    """What a deployment would do, step by step; only the mirror is brought up to date."""
    ref = _admit(site, request)
    tip = site.mirror.fetch(ref)
    revision = choose_revision(site.mirror, ref, tip, request.revision, forced=request.force)
    commit = site.mirror.commit(revision)
    return planned.deployment(site, ref, commit.revision, commit.subject)


def _queue(site: Site, request: DeployRequest) -> int:
    """Put it in the queue -> its number."""
    ref = _admit(site, request)
    with site.db.writing() as connection:
        return queue.enqueue(
            connection,
            repo=site.repo.name,
            trigger=request.origin.trigger,
            actor=request.origin.actor,
            now=request.origin.now,
            order=queue.Order(ref=ref, revision=request.revision, forced=request.force),
        )


def _admit(site: Site, request: DeployRequest) -> str:
    """Refuse at once what would be refused anyway -> the full name of the ref."""
    refuse_if_locked(site)
    for secret in site.repo.secrets.values():
        secret.reveal()
    ref = _full_ref(site, request.ref)
    _refuse_if_held(site, request, ref)
    return ref


def _refuse_if_held(site: Site, request: DeployRequest, ref: str) -> None:
    """Asking first leaves no trace of a deployment that could only be refused."""
    name = site.repo.name
    if request.force or freezes.hold_of(site.db, name) is None:
        return
    tip = site.mirror.remote_tip(ref)
    if tip and ref == site.repo.branch_ref and freezes.hold_on(site.db, name, tip) is None:
        return  # the branch has moved: the deployment itself lifts all holds
    wanted = request.revision or tip
    hold = freezes.hold_on(site.db, name, wanted) if wanted else None
    if hold is not None:
        raise RefusedError(describe_hold(name, hold))


def _full_ref(site: Site, ref: str | None) -> str:
    """A ref by its full name: ``main`` alone could also mean ``changeset-release/main``."""
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
    """Prove, as far as that is possible without it, that the switch would work."""
    site.layout.check()
    if target.state == GONE or not site.layout.usable(target.name, target.revision):
        raise RefusedError(
            f"{target.revision[:12]} is no longer on disk: a rollback would build it again; see: "
            f"deployctl rollback {site.repo.name} --to {target.revision[:12]} -n"
        )


def request_rollback(site: Site, to: str | None, origin: Origin) -> int:
    """Queue the rollback -> its deployment's number.

    What it goes back to is chosen when its turn comes: what runs may change what is live. Where
    nothing runs, what cannot be chosen now is refused now, without a trace: it would only take the
    place of what waits.
    """
    db, name = site.db, site.repo.name
    if not deployments.running(db, name):
        choose_target(site, to)
    with db.writing() as connection:
        return queue.enqueue(
            connection,
            repo=name,
            trigger=origin.trigger,
            actor=origin.actor,
            now=origin.now,
            order=queue.Order.rollback(to),
        )
