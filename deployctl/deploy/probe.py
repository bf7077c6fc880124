"""The health check of what is live, asked outside of a deployment."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from deployctl.health import evidence
from deployctl.health.check import HealthResult, check
from deployctl.releases.release_config import ReleaseConfig, old_secrets, reveal_secrets
from deployctl.releases.site import Site
from deployctl.system.command import Command
from deployctl.system.environment import step_environment
from deployctl.system.process import Outcome, StepContext, run_step
from deployctl.values.deployment import Deployment, Live
from deployctl.values.masking import Masker
from deployctl.values.repo import HealthCheck


def single_try(healthcheck: HealthCheck) -> HealthCheck:
    """The same with one try."""
    return replace(healthcheck, deadline=0.0, stable_for=0.0)


@dataclass(frozen=True)
class LiveRelease:
    """What is live at a site, what it runs with, and how its health is checked.

    ``made_live_by`` is the deployment that made it live, None where that is not known.
    """

    site: Site
    live: Live
    config: ReleaseConfig
    healthcheck: HealthCheck
    made_live_by: Deployment | None


def probe(
    release: LiveRelease,
    *,
    trigger: str,
    actor: str,
    noted: str | None = None,
    explained: bool = False,
) -> HealthResult:
    """Ask as a deployment does, with what the live release runs with; no secret is in the answer.

    ``noted`` is that of StepContext; ``explained``: a failure comes with its evidence.
    """
    site, healthcheck = release.site, release.healthcheck
    secrets = reveal_secrets(release.config)
    masker = Masker({*secrets.values(), *old_secrets(site).values()})
    known = {**_facts(release), "TRIGGER": trigger, "ACTOR": actor}
    named = {f"DEPLOYCTL_{name}": value or "" for name, value in known.items()}
    env = step_environment(release.config.env, secrets, named)

    context = StepContext(site.layout.live_directory(), env, f"check-{os.getpid()}", noted=noted)

    def run_command(command: Command, timeout: float) -> Outcome:
        return _run(command, replace(context, timeout=timeout), masker.another())

    result = check(healthcheck, run_command=run_command)
    if explained and not result.ok:
        place = site.layout.live_directory()
        why = evidence.explain(
            healthcheck, result, directory=place, run_command=run_command,
            mask=masker.mask_text, tell=lambda _: None,
        )  # fmt: skip
        result = replace(result, tail=why)
    masked = masker.mask_text(result.message), masker.mask_text(result.tail)
    return replace(result, message=masked[0], tail=masked[1])


def _run(command: Command, context: StepContext, masker: Masker) -> Outcome:
    """What is kept of its output is masked before half of it is cut off."""
    shown = evidence.last_lines()
    outcome = run_step(command, context, write=lambda chunk: shown(masker.mask(chunk)))
    shown(masker.flush())
    return replace(outcome, tail=shown.tail())


def _facts(release: LiveRelease) -> dict[str, str | None]:
    live, by = release.live, release.made_live_by
    return {
        "REPO": release.site.repo.name,
        "REVISION": live.revision,
        "PREVIOUS_REVISION": by.previous_revision if by else None,
        "REF": by.ref if by else None,
        "DEPLOYMENT": str(by.number) if by else None,
        "TASK": by.task if by else None,
        "RELEASE": live.release,
        "HOST": os.uname().nodename,
    }
