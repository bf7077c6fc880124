"""Where a repo is deployed to: nothing in the way, and what is live is whole and well."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import replace

from deployctl.check.finding import Finding, advised, fail, ok, warn
from deployctl.environment import account, step_environment
from deployctl.git.mirror import Mirror
from deployctl.health import check
from deployctl.layout import Layout, Live, layout_of
from deployctl.process import Outcome, run_step
from deployctl.repo import Command, Config, HealthCheck, Repo


def path(config: Config, repo: Repo) -> Iterator[Finding]:
    """All that a deployment would stumble over before its first stage."""
    found = [fail("path", *advised(text)) for text in _layout(config, repo).obstacles()]
    yield from found or [ok("path", f"{repo.path} can be deployed to")]


def live(config: Config, repo: Repo) -> Iterator[Finding]:
    """What answers now is a whole release, so that a rollback can come back to it."""
    layout = _layout(config, repo)
    found = layout.live()
    if found is None:
        yield ok("live", f"nothing is live yet; deployctl deploy {repo.name} begins")
    elif not os.path.isdir(layout.live_directory()):
        what = f"{layout.live_directory()} points to {found.link}, which is gone"
        yield fail("live", what, f"deployctl rollback {repo.name}")
    elif found.link and (found.release is None or found.revision is None):
        what = f"{layout.live_directory()} points to {found.link}, which deployctl did not build"
        yield warn("live", what, f"deployctl deploy {repo.name}")
    elif not layout.usable(found.release, found.revision or ""):
        what = f"the release {found.release} is live and not complete"
        yield fail("live", what, f"deployctl deploy {repo.name}")
    else:
        yield ok("live", f"{(found.revision or '')[:12]} is live")


def health(config: Config, repo: Repo) -> Iterator[Finding]:
    """One try of the health check, where something is live."""
    layout, healthcheck = _layout(config, repo), repo.pipeline.healthcheck
    found = layout.live()
    if healthcheck is None or found is None:
        return
    once = replace(healthcheck, deadline=0.0, stable_for=0.0)
    result = check(once, run_command=lambda *step: _run(repo, layout, found, *step))
    if result.ok:
        yield ok("health", result.message)
    else:
        yield warn("health", result.message, _by_hand(healthcheck, layout))


def _run(repo: Repo, layout: Layout, found: Live, command: Command, timeout: float) -> Outcome:
    """As in a deployment, but for what only a deployment has."""
    facts = {
        "DEPLOYCTL_REPO": repo.name,
        "DEPLOYCTL_REVISION": found.revision or "",
        "DEPLOYCTL_RELEASE": found.release or "",
        "DEPLOYCTL_ACTOR": account().user,
        "DEPLOYCTL_TRIGGER": "cli",
        "DEPLOYCTL_HOST": os.uname().nodename,
    }
    secrets = {name: secret.reveal() for name, secret in repo.secrets.items()}
    return run_step(
        command,
        cwd=layout.live_directory(),
        env=step_environment(repo.env, secrets, facts),
        timeout=timeout,
        marker=f"check-{os.getpid()}",
        write=lambda _: None,
    )


def _by_hand(healthcheck: HealthCheck, layout: Layout) -> str:
    if healthcheck.url:
        return f"see what answers: curl -i {shlex.quote(healthcheck.url)}"
    return f"run the command of healthcheck by hand, in {layout.live_directory()}"


def _layout(config: Config, repo: Repo) -> Layout:
    return layout_of(repo, Mirror(repo, config.state_dir))
