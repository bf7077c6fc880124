"""Check where a repo is deployed to: no obstacles, and what is live is complete and healthy."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from deployctl.check.finding import Finding, fail, ok, split_advice, warn
from deployctl.deploy.check_live import LiveRelease, probe, single_try
from deployctl.git.mirror import Mirror
from deployctl.releases.layout import Layout, layout_of
from deployctl.releases.release_config import config_of_live
from deployctl.releases.site import masker_of, open_site
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.system.environment import current_account
from deployctl.values.repo import Config, HealthCheck, Repo


def path(config: Config, repo: Repo) -> Iterator[Finding]:
    """Report all that would fail a deployment before the stages of its pipeline."""
    found = [fail("path", *split_advice(text)) for text in _layout(config, repo).obstacles()]
    yield from found or [ok("path", f"{repo.path} can be deployed to")]


def live(config: Config, repo: Repo) -> Iterator[Finding]:
    """Check that what is live is a complete release, which a later rollback can return to."""
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
    """Run, with a single try, the health check that the live release was deployed with."""
    with Database(config.state_dir, read_only=True) as db:
        site = open_site(config, db, repo.name)
        found = site.layout.live()
        if found is None:
            return
        running = config_of_live(site, found.revision, found.release)
        healthcheck = running.pipeline.healthcheck
        if healthcheck is None:
            yield from _probation_without_check(repo)
            return
        made_live_by = deployments.find_that_made_live(db, repo.name, found.revision, found.release)
        release = LiveRelease(site, found, running, single_try(healthcheck), made_live_by)
        result = probe(release, trigger="cli", actor=current_account().user)
    if result.ok:
        yield ok("health", result.message)
    else:
        fix = _manual_test(healthcheck, site.layout)
        yield warn("health", result.message, masker_of(repo).mask_text(fix))


def _probation_without_check(repo: Repo) -> Iterator[Finding]:
    if repo.probation:
        what = "probation is set, and what is live has no health check that could fail"
        yield warn("health", what, f"add healthcheck to {repo.name} in repos.yml, and deploy it")


def _manual_test(healthcheck: HealthCheck, layout: Layout) -> str:
    if healthcheck.url:
        return f"see what answers: curl -i {shlex.quote(healthcheck.url)}"
    return f"run the command of healthcheck by hand, in {layout.live_directory()}"


def _layout(config: Config, repo: Repo) -> Layout:
    return layout_of(repo, Mirror(repo, config.state_dir))
