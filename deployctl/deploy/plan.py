"""Plan a deployment or a rollback for a dry run: one line per step that it would run.

The line of a configured step ends with the place of its configuration, such as [repos.yml].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployctl.deploy.stages import describe
from deployctl.releases.release_config import (
    ReleaseConfig,
    config_of_release,
    config_of_revision,
    reveal_secrets,
    secrets_of_releases,
)
from deployctl.releases.site import Site
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.system.command import Command
from deployctl.values.masking import Masker
from deployctl.values.repo import Pipeline, Stage


def plan_deployment(site: Site, ref: str, revision: str, subject: str) -> list[str]:
    """Return the plan of a deployment, one line per step, with secrets masked.

    ``revision`` is a full sha that the mirror has. Raises ConfigError if the project's pipeline
    file is wrong.
    """
    config = config_of_revision(site, revision)
    live, pipeline = site.layout.live(), config.pipeline
    steps = [
        f"fetch {ref} from {site.repo.url}: {revision[:12]} {subject}",
        f"live now: {(live.revision or 'unknown')[:12] if live else 'nothing'}",
        f"prepare a release in {site.layout.directory(None)}",
        *_environment(config),
        *_caches(site, pipeline),
        *_stages(pipeline),
        f"switch {site.layout.live_directory()}",
        *_after_switch(pipeline),
        *_post(pipeline),
        *(f"tell {entry.channel} of {', '.join(entry.on)}" for entry in site.repo.notify),
    ]
    return _masked(site, config, steps)


def rollback_plan(site: Site, target: ReleaseRecord) -> list[str]:
    """Return the plan of a rollback to a release, one line per step, with secrets masked.

    A release that is no longer on disk would be built again: then its revision is fetched into the
    mirror, to read the project's pipeline file.
    """
    revision, gone = target.revision[:12], target.state == GONE
    if gone:
        site.mirror.ensure_commit(target.revision, f"refs/heads/{site.repo.branch}")
    config = config_of_revision(site, target.revision) if gone else config_of_release(site, target)
    directory = site.layout.directory(target.name if not gone else None)
    steps = [
        *([f"build {revision} again in {directory}: it is no longer on disk"] if gone else []),
        *(_environment(config) if gone else ()),
        *(_stages(config.pipeline) if gone else ()),
        f"switch {site.repo.name} to {revision} in {directory}",
        *_commands(config.pipeline, "on_rollback", config.pipeline.on_rollback),
        *_after_switch(config.pipeline),
        *_post(config.pipeline),
    ]
    return _masked(site, config, steps)


def _masked(site: Site, config: ReleaseConfig, steps: Sequence[str]) -> list[str]:
    masker = Masker({*reveal_secrets(config).values(), *secrets_of_releases(site).values()})
    return [*map(masker.mask_text, steps)]


def _environment(config: ReleaseConfig) -> Iterator[str]:
    names = sorted({*config.env, *config.secrets})
    if names:
        yield f"environment: {', '.join(names)}"


def _caches(site: Site, pipeline: Pipeline) -> Iterator[str]:
    if pipeline.cache and site.repo.strategy == "releases":
        yield f"copy caches: {', '.join(pipeline.cache)}{_source(pipeline, 'cache')}"


def _stages(pipeline: Pipeline) -> Iterator[str]:
    source = _source(pipeline, "stages")
    for stage in pipeline.stages:
        for step in stage.steps:
            yield f"stage {stage.name}{_conditions(stage)}: {describe(step)}{source}"


def _conditions(stage: Stage) -> str:
    """Return when a stage runs and what its failure means, in parentheses, or an empty string."""
    when = stage.when
    conditions = [
        *(
            f"{key} {' or '.join(values)}"
            for key, values in (vars(when).items() if when else ())
            if values
        ),
        *(["at the same time"] if stage.parallel else []),
        *([f"up to {stage.retry + 1} times"] if stage.retry else []),
        *(["may fail"] if stage.allow_failure else []),
    ]
    return f" ({', '.join(conditions)})" if conditions else ""


def _after_switch(pipeline: Pipeline) -> Iterator[str]:
    yield from _commands(pipeline, "restart", pipeline.restart)
    if pipeline.healthcheck:
        yield f"health check: {describe(pipeline.healthcheck)}{_source(pipeline, 'healthcheck')}"


def _post(pipeline: Pipeline) -> Iterator[str]:
    for when, commands in vars(pipeline.post).items():
        for command in commands:
            yield f"post {when}: {describe(command)}{_source(pipeline, 'post')}"


def _commands(pipeline: Pipeline, key: str, commands: Sequence[Command]) -> Iterator[str]:
    return (f"{key}: {describe(command)}{_source(pipeline, key)}" for command in commands)


def _source(pipeline: Pipeline, key: str) -> str:
    """Return where a key of the pipeline is configured, in brackets, or an empty string."""
    return f" [{pipeline.origins[key]}]" if key in pipeline.origins else ""
