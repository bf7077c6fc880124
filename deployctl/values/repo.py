"""The contents of repos.yml as frozen values: checked, and with every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deployctl.system.command import Command
from deployctl.values.secret import Secret
from deployctl.values.text import MB

# The files that deployctl adds to a release: one holds the commit's sha, the other marks that the
# release is complete.
REVISION, COMPLETE = "REVISION", ".complete"

# The origin of the parts of a pipeline that repos.yml sets, in :attr:`Pipeline.origins`.
OPERATOR_FILE = "repos.yml"


@dataclass(frozen=True)
class When:
    """The conditions on which a stage runs; all that are not empty must be met.

    ``branch`` are patterns for the names of branches and tags. ``paths`` are patterns as in
    gitignore, for the files that changed since the live revision. ``task`` is deploy or rollback.
    """

    branch: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    task: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A named phase of the pipeline; its steps run in order, and the first failure ends it.

    ``timeout`` is in seconds, for each step. ``dir`` is relative to the release. ``retry`` is how
    often a failed step is tried again. With ``allow_failure`` the next stage runs even if this one
    failed. ``parallel`` steps run at the same time.
    """

    name: str
    steps: tuple[Command, ...]
    timeout: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    dir: str = "."
    when: When | None = None
    retry: int = 0
    allow_failure: bool = False
    parallel: bool = False


@dataclass(frozen=True)
class Evidence:
    """A source of evidence for a failed health check: the end of a file or of a command's output.

    ``file`` is absolute, or relative to the live release.
    """

    file: str | None = None
    command: Command | None = None


@dataclass(frozen=True)
class HealthCheck:
    """A check that the live release works: a URL that is requested, or a command that must exit 0.

    ``timeout`` limits one try and ``deadline`` all of them; ``interval`` is the pause between two
    tries, and ``stable_for`` how long they must stay successful, None if nobody has set it; all in
    seconds. ``status`` are the
    accepted HTTP statuses, empty for any 2xx. ``contains`` is a text that the answer must contain.
    ``evidence`` is read once, after the check has failed.
    """

    url: str | None = None
    command: Command | None = None
    status: tuple[int, ...] = ()
    contains: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 5.0
    interval: float = 1.0
    deadline: float = 30.0
    stable_for: float | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Post:
    """Commands that run after the outcome of a deployment is recorded, and cannot change it."""

    success: tuple[Command, ...] = ()
    failure: tuple[Command, ...] = ()
    always: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """The commands and settings with which a project is built, started and checked.

    ``cache`` are directories, relative to the release, that are copied from the last good release.
    ``env`` are environment variables that the project sets. ``origins`` tells for each key of the
    pipeline which source has set it: :data:`OPERATOR_FILE`, ``deployer NAME``, or the path of a
    file in the repository. A key that no source has set is missing there.
    """

    stages: tuple[Stage, ...] = ()
    restart: tuple[Command, ...] = ()
    healthcheck: HealthCheck | None = None
    on_rollback: tuple[Command, ...] = ()
    cache: tuple[str, ...] = ()
    post: Post = field(default_factory=Post)
    env: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def with_values_of(self, values: Mapping[str, Any], origin: str) -> Pipeline:
        """Return a pipeline with the values of another source, ``origin``.

        They replace what other sources have set, but not what the operator has set in repos.yml.
        """
        new = {
            key: value for key, value in values.items() if self.origins.get(key) != OPERATOR_FILE
        }
        return replace(self, **new, origins={**self.origins, **dict.fromkeys(new, origin)})


@dataclass(frozen=True)
class Channel:
    """A channel for notices: an Apprise URL, which is secret.

    ``timeout`` is the limit for sending one notice, in seconds.
    """

    name: str
    url: Secret
    timeout: float = 20.0


@dataclass(frozen=True)
class Subscription:
    """One entry of a repo's ``notify``: a channel's name, and the events that are sent to it."""

    channel: str
    on: tuple[str, ...]


@dataclass(frozen=True)
class Repo:
    """One entry of ``repos``: the repository to fetch, and where and how it is deployed.

    If ``tags``, a pattern of tag names, is set, the repo follows tags instead of ``branch``. ``on``
    is push or ci_success. ``watch`` are patterns as in gitignore: a push is deployed only if it
    changes a matching path; empty matches all. ``dir`` is the directory of the repository that is
    deployed, relative and without ``..``. ``probation`` is how many seconds the health check goes
    on after a deployment. ``min_free`` is in bytes, and so is ``memory``, which with ``nice`` and
    ``ionice`` limits the steps (None: no limit, no ionice). ``timeout`` and ``fetch_timeout`` are
    in seconds. ``pipeline`` is set by repos.yml and the deployer; the project's own
    ``pipeline_file``, a path in the repository, is added later (empty: there is none).
    """

    name: str
    url: str
    path: str
    branch: str = "main"
    tags: str | None = None
    on: str = "push"
    watch: tuple[str, ...] = ()
    dir: str = "."
    forge: str | None = None
    id: str | None = None
    full_name: str | None = None
    webhook_secrets: tuple[Secret, ...] = ()
    strategy: str = "releases"
    deployer: str = "none"
    pipeline: Pipeline = field(default_factory=Pipeline)
    pipeline_file: str = ""
    auto_rollback: bool = True
    probation: float = 0.0
    keep_releases: int = 5
    min_free: int = 200 * MB
    shared_dirs: tuple[str, ...] = ()
    shared_files: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[str, ...] = ()
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    ssh_key: str | None = None
    known_hosts: str | None = None
    submodules: bool = False
    lfs: bool = False
    fetch_timeout: float = 300.0
    timeout: float = 1800.0
    nice: int = 0
    ionice: str | None = None
    memory: int | None = None
    notify: tuple[Subscription, ...] = ()

    @property
    def subdirectory(self) -> str:
        """``dir``, but empty if the whole repository is deployed."""
        return "" if self.dir == "." else self.dir

    @property
    def branch_ref(self) -> str | None:
        """The full ref name of the branch that the repo follows; None if it follows tags."""
        return f"refs/heads/{self.branch}" if self.tags is None else None


@dataclass(frozen=True)
class Config:
    """A whole repos.yml; all paths in it are absolute.

    ``max_running`` is how many repos may be deployed at the same time. ``max_body`` is in bytes,
    ``keep_deliveries`` and ``keep_logs`` are in seconds. ``webhook_url`` is the URL to which the
    forges send their deliveries.
    """

    path: str
    state_dir: str
    repos: Mapping[str, Repo]
    channels: Mapping[str, Channel] = field(default_factory=dict)
    max_running: int = 1
    max_body: int = MB
    keep_deliveries: float = 30 * 86400.0
    keep_logs: float = 90 * 86400.0
    webhook_url: str | None = None
    status_page: str | None = None

    @property
    def env_names(self) -> tuple[str, ...]:
        """The environment variables that ``env:`` secrets of steps and channels name, sorted."""
        secrets = [channel.url for channel in self.channels.values()]
        for repo in self.repos.values():
            secrets += repo.secrets.values()
        return tuple(sorted({name for secret in secrets if (name := secret.env_name)}))
