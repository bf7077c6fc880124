"""What repos.yml says, as frozen values: everything checked, every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deployctl.system.command import Command
from deployctl.values.secret import Secret
from deployctl.values.text import MB

# The files of ours that a release has: its commit's sha, and the mark that it is whole.
REVISION, COMPLETE = "REVISION", ".complete"

# Where a part of a pipeline comes from that the operator's own file says.
OWN = "repos.yml"


@dataclass(frozen=True)
class When:
    """On what a stage depends; what is empty does not matter, all the others must fit.

    ``branch`` are patterns of names of branches and tags, ``paths`` are patterns as in gitignore
    of what changed since what is live, ``task`` is deploy or rollback.
    """

    branch: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    task: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A named phase of the pipeline: its steps run in order, the first failure ends it.

    ``timeout`` is in seconds, for each step; ``dir`` is relative to the release. ``retry`` is how
    often a step that failed is tried again; with ``allow_failure`` the next stage runs all the
    same; ``parallel`` steps run at the same time.
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
    """What may explain a failed health check: the end of a file, or of what a command prints.

    ``file`` is absolute or relative to what is live.
    """

    file: str | None = None
    command: Command | None = None


@dataclass(frozen=True)
class HealthCheck:
    """How to tell that what is live works: a URL to ask, or a command that exits 0.

    ``timeout`` bounds one try, ``deadline`` all of them, ``interval`` is the pause between two,
    ``stable_for`` how long the answers must stay good; all in seconds. ``status`` empty: any 2xx.
    ``evidence`` is looked at once, when it has failed.
    """

    url: str | None = None
    command: Command | None = None
    status: tuple[int, ...] = ()
    contains: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 5.0
    interval: float = 1.0
    deadline: float = 30.0
    stable_for: float = 0.0
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Post:
    """Commands that run when it is known how a deployment ended, and change nothing of that."""

    success: tuple[Command, ...] = ()
    failure: tuple[Command, ...] = ()
    always: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """How a project is built, started and checked.

    ``cache`` are directories, relative to the release, that are copied from the last good one.
    ``env`` are the project's own variables. ``origins`` says by key who said so: :data:`OWN`, a
    deployer or a file of the project; a key that nobody says is not in it.
    """

    stages: tuple[Stage, ...] = ()
    restart: tuple[Command, ...] = ()
    healthcheck: HealthCheck | None = None
    on_rollback: tuple[Command, ...] = ()
    cache: tuple[str, ...] = ()
    post: Post = field(default_factory=Post)
    env: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def over(self, values: Mapping[str, Any], origin: str) -> Pipeline:
        """With what another source says, but for what the operator says."""
        new = {key: value for key, value in values.items() if self.origins.get(key) != OWN}
        return replace(self, **new, origins={**self.origins, **dict.fromkeys(new, origin)})


@dataclass(frozen=True)
class Channel:
    """Where notices go: an Apprise URL, kept secret; ``timeout`` in seconds bounds one sending."""

    name: str
    url: Secret
    timeout: float = 20.0


@dataclass(frozen=True)
class Subscription:
    """One entry of a repo's ``notify``: a channel's name and the events it is told of."""

    channel: str
    on: tuple[str, ...]


@dataclass(frozen=True)
class Repo:
    """One entry of ``repos``: what to fetch, where to deploy it, and how.

    ``tags``, a pattern of names, takes the place of ``branch``. ``on`` is push or ci_success;
    ``watch`` are patterns as in gitignore, of paths that are worth a deployment: none, all are.
    ``dir`` is the directory of the repository that is deployed, relative and without ``..``.
    ``probation`` is for how many seconds what went live is checked again.
    ``min_free`` is in bytes, and so is ``memory``, which with ``nice`` and ``ionice`` bounds what
    stages take (None: no limit, no ionice). ``pipeline`` is what repos.yml and the deployer say,
    before the project's own ``pipeline_file``, a path in the repository (empty: it has none).
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
    def below(self) -> str:
        """``dir``; empty where it is the whole repository."""
        return "" if self.dir == "." else self.dir

    @property
    def branch_ref(self) -> str | None:
        """The full name of the branch that it follows; None where it follows tags."""
        return f"refs/heads/{self.branch}" if self.tags is None else None


@dataclass(frozen=True)
class Config:
    """A whole repos.yml; all paths in it are absolute.

    ``max_body`` is in bytes, ``keep_deliveries`` and ``keep_logs`` in seconds; ``webhook_url`` is
    where the forges send their deliveries to.
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
        """The variables that ``env:`` secrets of steps and channels name, sorted."""
        secrets = [channel.url for channel in self.channels.values()]
        for repo in self.repos.values():
            secrets += repo.secrets.values()
        return tuple(sorted({name for secret in secrets if (name := secret.env_name)}))
