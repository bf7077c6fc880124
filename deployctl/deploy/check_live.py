"""Run the health check of the live release outside of a deployment.

`deployctl check` uses it, and probation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from deployctl.health import evidence
from deployctl.health.check import HealthResult, check
from deployctl.health.expand import expand
from deployctl.releases.release_config import ReleaseConfig, reveal_secrets, secrets_of_releases
from deployctl.releases.site import Site
from deployctl.system.command import Command
from deployctl.system.environment import step_environment
from deployctl.system.process import StepContext, StepOutcome, run_step
from deployctl.values.deployment import Deployment, Live
from deployctl.values.masking import Masker
from deployctl.values.repo import HealthCheck


def single_try(healthcheck: HealthCheck) -> HealthCheck:
    """Return the health check with a single try: one good answer is enough, a bad one final."""
    return replace(healthcheck, deadline=0.0, stable_for=0.0)


@dataclass(frozen=True)
class LiveRelease:
    """The live release of a site, with its configuration and its health check.

    ``made_live_by`` is the deployment that made it live, None if that is not known.
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
    step_note: str | None = None,
    with_evidence: bool = False,
) -> HealthResult:
    """Check the health of the live release as a deployment does, and return the result.

    The environment is that of the release; ``trigger`` and ``actor`` become DEPLOYCTL_TRIGGER and
    DEPLOYCTL_ACTOR. ``step_note`` is the path of the file that names the running command, for
    recovery (``note_path`` of StepContext). With ``with_evidence`` a failure has the evidence of
    the health check in ``tail``. Secrets are masked in the result.
    """
    site = release.site
    secrets = reveal_secrets(release.config)
    masker = Masker({*secrets.values(), *secrets_of_releases(site).values()})
    facts = {**_deployment_facts(release), "TRIGGER": trigger, "ACTOR": actor}
    variables = {f"DEPLOYCTL_{name}": value or "" for name, value in facts.items()}
    env = step_environment(release.config.env, secrets, variables)
    healthcheck = expand(release.healthcheck, env)
    directory = site.layout.live_directory()
    context = StepContext(directory, env, f"check-{os.getpid()}", note_path=step_note)

    def run_command(command: Command, timeout: float) -> StepOutcome:
        return _run_masked(command, replace(context, timeout=timeout), masker.for_new_stream())

    result = check(healthcheck, restarted=False, run_command=run_command)
    if with_evidence and not result.ok:
        heading = evidence.check_heading(healthcheck)
        tail = evidence.collect_evidence(
            healthcheck, result.tail, heading=heading, directory=directory, run_command=run_command,
            mask=masker.mask_text, tell=lambda _: None,
        )  # fmt: skip
        result = replace(result, tail=tail)
    message, tail = masker.mask_text(result.message), masker.mask_text(result.tail)
    return replace(result, message=message, tail=tail)


def _run_masked(command: Command, context: StepContext, masker: Masker) -> StepOutcome:
    """Run a command; return its outcome with its last lines of output, masked.

    The output is masked before it is cut to the last lines, so that no half of a secret is shown.
    """
    last_lines = evidence.last_lines()
    outcome = run_step(command, context, write=lambda chunk: last_lines(masker.mask(chunk)))
    last_lines(masker.flush())
    return replace(outcome, tail=last_lines.tail())


def _deployment_facts(release: LiveRelease) -> dict[str, str | None]:
    """Return the values of the DEPLOYCTL_ variables, by their names without that prefix."""
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
