"""The health check of what is live, asked outside of a deployment."""

from __future__ import annotations

import os
from dataclasses import replace

from deployctl.deployment import Deployment
from deployctl.environment import step_environment
from deployctl.health import HealthResult, check
from deployctl.layout import Live
from deployctl.masking import Masker
from deployctl.process import Outcome, run_step
from deployctl.release_config import ReleaseConfig, known_secrets, revealed
from deployctl.repo import Command, HealthCheck
from deployctl.site import Site


def once(healthcheck: HealthCheck) -> HealthCheck:
    """The same with one try."""
    return replace(healthcheck, deadline=0.0, stable_for=0.0)


def probe(
    site: Site,
    live: Live,
    config: ReleaseConfig,
    healthcheck: HealthCheck,
    brought: Deployment | None,
    *,
    trigger: str,
    actor: str,
    noted: str | None = None,
) -> HealthResult:
    """Ask as a deployment does, with what the live release runs with; no secret is in the answer.

    ``brought`` is the deployment that made it live, None where that is not known; ``noted`` is as
    :func:`deployctl.process.run_step` has it.
    """
    secrets = revealed(config)
    known = {**_facts(site, live, brought), "TRIGGER": trigger, "ACTOR": actor}
    named = {f"DEPLOYCTL_{name}": value or "" for name, value in known.items()}
    env = step_environment(config.env, secrets, named)

    def run_command(command: Command, timeout: float) -> Outcome:
        return run_step(
            command,
            cwd=site.layout.live_directory(),
            env=env,
            timeout=timeout,
            marker=f"check-{os.getpid()}",
            write=lambda _: None,
            noted=noted,
        )

    result = check(healthcheck, run_command=run_command)
    masker = Masker({*secrets.values(), *known_secrets(site)})
    masked = masker.mask_text(result.message), masker.mask_text(result.tail)
    return replace(result, message=masked[0], tail=masked[1])


def _facts(site: Site, live: Live, brought: Deployment | None) -> dict[str, str | None]:
    return {
        "REPO": site.repo.name,
        "REVISION": live.revision,
        "PREVIOUS_REVISION": brought.previous_revision if brought else None,
        "REF": brought.ref if brought else None,
        "DEPLOYMENT": str(brought.number) if brought else None,
        "TASK": brought.task if brought else None,
        "RELEASE": live.release,
        "HOST": os.uname().nodename,
    }
