"""The health check of what is live, asked outside of a deployment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from deployctl.health import evidence
from deployctl.health.check import HealthResult, check
from deployctl.releases.release_config import ReleaseConfig, old_secrets, revealed
from deployctl.releases.site import Site
from deployctl.system.command import Command
from deployctl.system.environment import step_environment
from deployctl.system.process import Outcome, run_step
from deployctl.values.deployment import Deployment, Live
from deployctl.values.masking import Masker
from deployctl.values.repo import HealthCheck


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
    explained: bool = False,
) -> HealthResult:
    """Ask as a deployment does, with what the live release runs with; no secret is in the answer.

    ``brought`` is the deployment that made it live, None where that is not known; ``noted`` is as
    ``system.process.run_step`` has it; ``explained``: a failure comes with its evidence.
    """
    secrets = revealed(config)
    masker = Masker({*secrets.values(), *old_secrets(site).values()})
    known = {**_facts(site, live, brought), "TRIGGER": trigger, "ACTOR": actor}
    named = {f"DEPLOYCTL_{name}": value or "" for name, value in known.items()}
    env = step_environment(config.env, secrets, named)

    def run_command(command: Command, timeout: float) -> Outcome:
        return _run(command, timeout, site.layout.live_directory(), env, masker.another(), noted)

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


def _run(
    command: Command,
    timeout: float,
    directory: str,
    env: Mapping[str, str],
    masker: Masker,
    noted: str | None,
) -> Outcome:
    """What is kept of its output is masked before half of it is cut off."""
    shown = evidence.last_lines()
    outcome = run_step(
        command,
        cwd=directory,
        env=env,
        timeout=timeout,
        marker=f"check-{os.getpid()}",
        write=lambda chunk: shown(masker.mask(chunk)),
        noted=noted,
    )
    shown(masker.flush())
    return replace(outcome, tail=shown.tail())


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
