"""What a release is built and run with: its pipeline, its environment, its secrets.

Its variables, the text of the project's own file and where its secrets are is stored with the
release, so that going back to it brings back what it ran with. What repos.yml and a deployer say of
the pipeline is always what they say now: whoever mends a restart there wants it for the way back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from deployctl.config.dotenv import read_env_file
from deployctl.config.project import parse_project
from deployctl.errors import ConfigError
from deployctl.git.repository import read_blob
from deployctl.releases.choose import find_release
from deployctl.releases.site import Site
from deployctl.store.releases import ReleaseRecord, of_repo
from deployctl.values.repo import Pipeline, Repo
from deployctl.values.secret import Secret
from deployctl.values.text import MB

_LIMIT = MB  # of a pipeline file, as of repos.yml


@dataclass(frozen=True)
class ReleaseConfig:
    """``project`` is the text of the project's own file; ``env`` are the operator's variables."""

    pipeline: Pipeline
    env: Mapping[str, str]
    secrets: Mapping[str, Secret]
    project: str | None = None

    def stored(self) -> str:
        """As the record keeps it: a secret by its reference, and none that is its own value."""
        references = {name: _reference(secret) for name, secret in self.secrets.items()}
        return json.dumps({"env": self.env, "secrets": references, "project": self.project})


def config_of_revision(site: Site, revision: str) -> ReleaseConfig:
    """What a release would be built with now.

    ConfigError where the project's own file or an env_file cannot be used.
    """
    repo = site.repo
    project = _read_project(site, revision) if repo.pipeline_file else None
    env: dict[str, str] = {}
    for path in repo.env_files:
        env.update(read_env_file(path))
    shared = (*repo.shared_dirs, *repo.shared_files)
    return _assemble(repo, project, {**env, **repo.env}, repo.secrets, shared)


def config_of_release(site: Site, release: ReleaseRecord | None) -> ReleaseConfig:
    """What a release was built with; what repos.yml says where that is not known."""
    repo = site.repo
    if release is None or release.config is None:
        return _assemble(repo, None, repo.env, repo.secrets)
    kept = json.loads(release.config)
    references = {name: Secret(each) for name, each in kept["secrets"].items() if each}
    secrets = {**repo.secrets, **references}  # those of now too: its restart is that of now
    try:
        return _assemble(repo, kept["project"], kept["env"], secrets)
    except ConfigError:  # valid then, and not for this version: the way back is worth more
        return _assemble(repo, None, kept["env"], secrets)


def config_of_live(site: Site, revision: str | None, name: str | None) -> ReleaseConfig:
    return config_of_release(site, find_release(site, revision, name))


def old_secrets(site: Site) -> dict[Secret, str]:
    """What releases on disk were built with, and its values as far as they can still be read."""
    known = [json.loads(each.config) for each in of_repo(site.db, site.repo.name) if each.config]
    secrets = {Secret(each) for kept in known for each in kept["secrets"].values() if each}
    return {secret: value for secret in secrets if (value := _try(secret)) is not None}


def reveal_secrets(config: ReleaseConfig) -> dict[str, str]:
    """The values of the secrets; one that is gone since is left out, its command will say so."""
    values = {name: _try(secret) for name, secret in config.secrets.items()}
    return {name: value for name, value in values.items() if value is not None}


def _assemble(
    repo: Repo,
    project: str | None,
    env: Mapping[str, str],
    secrets: Mapping[str, Secret],
    shared: Collection[str] = (),
) -> ReleaseConfig:
    pipeline = repo.pipeline
    if project is not None:
        file = repo.pipeline_file or "the project's pipeline file"
        pipeline = pipeline.over(parse_project(project.encode(), file, shared), file)
    return ReleaseConfig(pipeline, {**pipeline.env, **env}, secrets, project)


def _read_project(site: Site, revision: str) -> str:
    """From the top of what is deployed, which ``dir`` may set below that of the repository."""
    file = os.path.join(site.repo.below, site.repo.pipeline_file)
    data = read_blob(site.mirror.directory, revision, file, _LIMIT)
    if data is None:
        raise ConfigError(
            f"{revision[:12]} has no {file}: commit one, or say pipeline_file: off for "
            f"{site.repo.name} in repos.yml"
        )
    try:
        return data.decode()
    except UnicodeDecodeError:
        parse_project(data, file)  # says where it is not UTF-8
        raise


def _reference(secret: Secret) -> str | None:
    return secret.reference if secret.is_reference else None


def _try(secret: Secret) -> str | None:
    try:
        return secret.reveal()
    except ConfigError:
        return None
