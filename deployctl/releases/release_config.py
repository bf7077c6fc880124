"""The configuration that a release is built and run with: pipeline, environment, secrets.

Its variables, the text of the project's own pipeline file and the references of its secrets are
stored with the release, so that a rollback runs it with what it was built with. The parts of the
pipeline that repos.yml and a deployer define are not stored: always the present ones are used, so
that a correction of ``restart`` in repos.yml is effective in a rollback too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from deployctl.config.dotenv import read_env_file
from deployctl.config.project import parse_pipeline_file
from deployctl.errors import ConfigError
from deployctl.git.repository import read_blob
from deployctl.releases.choose import find_release
from deployctl.releases.site import Site
from deployctl.store.releases import ReleaseRecord, of_repo
from deployctl.values.repo import Pipeline, Repo
from deployctl.values.secret import Secret
from deployctl.values.text import MB

_MAX_SIZE = MB  # of a pipeline file, in bytes; the same as of repos.yml


@dataclass(frozen=True)
class ReleaseConfig:
    """The configuration that a release is built and run with.

    ``env`` and ``secrets`` are by the names of variables: ``env`` has those of the project and,
    with precedence, those of the operator. ``project`` is the text of the project's own pipeline
    file, None where it has none.
    """

    pipeline: Pipeline
    env: Mapping[str, str]
    secrets: Mapping[str, Secret]
    project: str | None = None

    def to_record(self) -> str:
        """Return the JSON text that the record keeps: an object of env, secrets and project.

        Of a secret only its reference (``env:NAME``, ``file:PATH``) is in it, and null where
        repos.yml has the value itself.
        """
        references = {name: _reference(secret) for name, secret in self.secrets.items()}
        return json.dumps({"env": self.env, "secrets": references, "project": self.project})


def config_of_revision(site: Site, revision: str) -> ReleaseConfig:
    """Return the configuration that a release of a revision would be built with now.

    The mirror must have the revision. ConfigError where the project's own pipeline file or an
    env_file cannot be used; GitError where the mirror cannot be read.
    """
    repo = site.repo
    project = _read_project(site, revision) if repo.pipeline_file else None
    env: dict[str, str] = {}
    for path in repo.env_files:
        env.update(read_env_file(path))
    shared = (*repo.shared_dirs, *repo.shared_files)
    return _assemble(repo, project, {**env, **repo.env}, repo.secrets, shared)


def config_of_release(site: Site, release: ReleaseRecord | None) -> ReleaseConfig:
    """Return the configuration that a release was built with, as the record keeps it.

    Where that is not known, it is what repos.yml says now. A stored pipeline file that this
    version refuses is left out.
    """
    repo = site.repo
    if release is None or release.config is None:
        return _assemble(repo, None, repo.env, repo.secrets)
    kept = json.loads(release.config)
    references = {name: Secret(text) for name, text in kept["secrets"].items() if text}
    secrets = {**repo.secrets, **references}  # the present restart may need the present secrets
    try:
        return _assemble(repo, kept["project"], kept["env"], secrets)
    except ConfigError:  # it was valid for an older version: the rollback must work all the same
        return _assemble(repo, None, kept["env"], secrets)


def config_of_live(site: Site, revision: str | None, name: str | None) -> ReleaseConfig:
    """Return the configuration that the live release was built with.

    ``revision`` and ``name``, the release's directory (None in place), are those of
    :class:`deployctl.values.deployment.Live`. Where the record has no such release, it is what
    repos.yml says now.
    """
    return config_of_release(site, find_release(site, revision, name))


def secrets_of_releases(site: Site) -> dict[Secret, str]:
    """Return the secrets that the releases of the record were built with, with their values.

    A secret that cannot be read any more is left out.
    """
    known = of_repo(site.db, site.repo.name)
    stored = [json.loads(release.config) for release in known if release.config]
    secrets = {Secret(text) for config in stored for text in config["secrets"].values() if text}
    return {secret: value for secret in secrets if (value := _value_of(secret)) is not None}


def reveal_secrets(config: ReleaseConfig) -> dict[str, str]:
    """Return the values of the secrets by the names of their variables.

    A secret that cannot be read any more is left out: the command that needs it will fail.
    """
    values = {name: _value_of(secret) for name, secret in config.secrets.items()}
    return {name: value for name, value in values.items() if value is not None}


def _assemble(
    repo: Repo,
    project: str | None,
    env: Mapping[str, str],
    secrets: Mapping[str, Secret],
    shared: Collection[str] = (),
) -> ReleaseConfig:
    """Put a configuration together from the project's pipeline file and the other parts.

    ``project`` is the file's text, None: without it. ``shared`` are shared paths, which the file
    must not name as caches. ConfigError where the file cannot be used.
    """
    pipeline = repo.pipeline
    if project is not None:
        file = repo.pipeline_file or "the project's pipeline file"
        pipeline = pipeline.with_values_of(
            parse_pipeline_file(project.encode(), file, shared), file
        )
    return ReleaseConfig(pipeline, {**pipeline.env, **env}, secrets, project)


def _read_project(site: Site, revision: str) -> str:
    """Return the text of the project's pipeline file at a revision.

    It is at the top of what is deployed: of the directory ``dir`` of the repository, where that is
    set. ConfigError where it is missing, too large or not UTF-8.
    """
    file = os.path.join(site.repo.subdirectory, site.repo.pipeline_file)
    data = read_blob(site.mirror.directory, revision, file, _MAX_SIZE)
    if data is None:
        raise ConfigError(
            f"{revision[:12]} has no {file}: commit one, or say pipeline_file: off for "
            f"{site.repo.name} in repos.yml"
        )
    try:
        return data.decode()
    except UnicodeDecodeError:
        parse_pipeline_file(data, file)  # raises ConfigError, with the place that is not UTF-8
        raise


def _reference(secret: Secret) -> str | None:
    """Return the reference of a secret; None where that would be the value itself."""
    return secret.reference if secret.is_reference else None


def _value_of(secret: Secret) -> str | None:
    try:
        return secret.reveal()
    except ConfigError:
        return None
