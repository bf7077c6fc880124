"""What a deployment or a rollback would do, step by step, and who says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployctl.deploy.stages import describe
from deployctl.releases.release_config import (
    ReleaseConfig,
    config_of_release,
    config_of_revision,
    old_secrets,
    reveal_secrets,
)
from deployctl.releases.site import Site
from deployctl.store.releases import GONE, ReleaseRecord
from deployctl.system.command import Command
from deployctl.values.masking import Masker
from deployctl.values.repo import Pipeline, Stage


def deployment(site: Site, ref: str, revision: str, subject: str) -> list[str]:
    """The plan to bring a fetched revision live; ConfigError where its own file is wrong."""
    config = config_of_revision(site, revision)
    live, pipeline = site.layout.live(), config.pipeline
    steps = [
        f"fetch {ref} from {site.repo.url}: {revision[:12]} {subject}",
        f"live now: {(live.revision or 'unknown')[:12] if live else 'nothing'}",
        f"prepare a release in {site.layout.directory(None)}",
        *_environment(config),
        *_caches(site, pipeline),
        *_build(pipeline),
        f"switch {site.layout.live_directory()}",
        *_after_switch(pipeline),
        *_afterwards(pipeline),
        *(f"tell {each.channel} of {', '.join(each.on)}" for each in site.repo.notify),
    ]
    return _masked(site, config, steps)


def rollback(site: Site, target: ReleaseRecord) -> list[str]:
    """The plan to go back to a release."""
    revision, gone = target.revision[:12], target.state == GONE
    if gone:
        site.mirror.bring(target.revision, f"refs/heads/{site.repo.branch}")
    config = config_of_revision(site, target.revision) if gone else config_of_release(site, target)
    place = site.layout.directory(target.name if not gone else None)
    steps = [
        *([f"build {revision} again in {place}: it is no longer on disk"] if gone else []),
        *(_environment(config) if gone else ()),
        *(_build(config.pipeline) if gone else ()),
        f"switch {site.repo.name} to {revision} in {place}",
        *_commands(config.pipeline, "on_rollback", config.pipeline.on_rollback),
        *_after_switch(config.pipeline),
        *_afterwards(config.pipeline),
    ]
    return _masked(site, config, steps)


def _masked(site: Site, config: ReleaseConfig, steps: Sequence[str]) -> list[str]:
    masker = Masker({*reveal_secrets(config).values(), *old_secrets(site).values()})
    return [*map(masker.mask_text, steps)]


def _environment(config: ReleaseConfig) -> Iterator[str]:
    names = sorted({*config.env, *config.secrets})
    if names:
        yield f"environment: {', '.join(names)}"


def _caches(site: Site, pipeline: Pipeline) -> Iterator[str]:
    if pipeline.cache and site.repo.strategy == "releases":
        yield f"copy caches: {', '.join(pipeline.cache)}{_says(pipeline, 'cache')}"


def _build(pipeline: Pipeline) -> Iterator[str]:
    for stage in pipeline.stages:
        for step in stage.steps:
            yield f"stage {stage.name}{_terms(stage)}: {describe(step)}{_says(pipeline, 'stages')}"


def _terms(stage: Stage) -> str:
    """What is special about a stage, in brackets."""
    when = stage.when
    terms = [
        *(
            f"{key} {' or '.join(given)}"
            for key, given in (vars(when).items() if when else ())
            if given
        ),
        *(["at the same time"] if stage.parallel else []),
        *([f"up to {stage.retry + 1} times"] if stage.retry else []),
        *(["may fail"] if stage.allow_failure else []),
    ]
    return f" ({', '.join(terms)})" if terms else ""


def _after_switch(pipeline: Pipeline) -> Iterator[str]:
    yield from _commands(pipeline, "restart", pipeline.restart)
    if pipeline.healthcheck:
        yield f"health check: {describe(pipeline.healthcheck)}{_says(pipeline, 'healthcheck')}"


def _afterwards(pipeline: Pipeline) -> Iterator[str]:
    for when, commands in vars(pipeline.post).items():
        for command in commands:
            yield f"post {when}: {describe(command)}{_says(pipeline, 'post')}"


def _commands(pipeline: Pipeline, key: str, commands: Sequence[Command]) -> Iterator[str]:
    return (f"{key}: {describe(command)}{_says(pipeline, key)}" for command in commands)


def _says(pipeline: Pipeline, key: str) -> str:
    return f" [{pipeline.origins[key]}]" if key in pipeline.origins else ""
