"""What a webhook needs of repos.yml, at the price of reading two small files.

Parsing YAML takes longer than all the rest of a webhook. So the first one after a change checks
the whole file and leaves what the others need in ``config.json`` in the state directory: paths,
names, branches and the references of webhook secrets, but no value of ``secrets`` or channels.
The copy counts only while it was made from exactly these bytes.

This module is on the webhook's way: it imports neither yaml nor dataclasses nor typing.
"""

from __future__ import annotations

import os

from deployctl import __version__
from deployctl.config.locate import default_state_dir, read_config, resolve_path
from deployctl.errors import ConfigError
from deployctl.system.lean import JsonReader, sha256, to_json
from deployctl.system.trust import is_own
from deployctl.values.secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.values.repo import Config, Repo

COPY = "config.json"


class WebhookRepo:
    """How to recognise the deliveries of a repo, and how to verify them."""

    __slots__ = ("branch", "forge", "full_name", "id", "name", "on", "secrets", "tags")

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        self.name = name
        self.branch: str = values["branch"]
        self.tags: str | None = values["tags"]
        self.on: str = values["on"]
        self.forge: str | None = values["forge"]
        self.id: str | None = values["id"]
        self.full_name: str | None = values["full_name"]
        self.secrets: tuple[Secret, ...] = tuple(Secret(one) for one in values["secrets"])


class WebhookConfig:
    """The absolute state directory, the most bytes a body may have, and the repos by name.

    ``env_names`` are the variables that the worker needs of those this process was given.
    """

    __slots__ = ("env_names", "max_body", "repos", "state_dir")

    def __init__(self, document: dict[str, Any]) -> None:
        self.state_dir: str = document["state_dir"]
        self.max_body: int = document["max_body"]
        self.env_names: tuple[str, ...] = tuple(document.get("env_names", ()))
        self.repos = {name: WebhookRepo(name, one) for name, one in document["repos"].items()}


def load_webhook_config(path: str) -> WebhookConfig:
    """The config at ``path`` (absolute); ConfigError, as ``load`` raises it, if it is invalid."""
    data = read_config(path)
    stamp = {"config": path, "sha256": sha256(data).hexdigest(), "version": __version__}
    state_dir = _state_dir(data, os.path.dirname(path))
    copy = _read_copy(state_dir, {**stamp, "state_dir": state_dir})
    return copy or _compile(data, path, stamp)


def probable_state_dir(path: str) -> str | None:
    """Where the state seems to be by a repos.yml that may be broken; None where nothing tells."""
    try:
        return _state_dir(read_config(path, trusted=False), os.path.dirname(path))
    except ConfigError:
        return None


def _state_dir(data: bytes, directory: str) -> str:
    """What ``state_dir`` seems to say. A wrong guess costs time only: the copy knows its place."""
    for line in data.splitlines():
        if line.startswith(b"state_dir:"):
            value = line[10:].decode(errors="replace").partition(" #")[0].strip().strip("'\"")
            return resolve_path(value, directory)
    return default_state_dir()


def _read_copy(state_dir: str, stamp: dict[str, str]) -> WebhookConfig | None:
    """The compiled copy, if it is ours alone and was made from this very config."""
    try:
        document = JsonReader().read(_read_private(os.path.join(state_dir, COPY)).decode())
        return WebhookConfig(document) if document["stamp"] == stamp else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_private(path: str) -> bytes:
    """The bytes of a file of ours that nobody else can read or write; else none."""
    with open(path, "rb", opener=_open_no_link) as file:
        status = os.fstat(file.fileno())
        private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
        return file.read() if private else b""


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _compile(data: bytes, path: str, stamp: dict[str, str]) -> WebhookConfig:
    """Check the whole file, and leave a copy for the next webhook where that is possible."""
    from deployctl.config.load import parse

    config = parse(data, path)
    document = _document(config, stamp)
    # Without a copy the next one is slower, no more. The state directory is made elsewhere.
    if is_own(config.state_dir):
        _try_to_write(os.path.join(config.state_dir, COPY), to_json(document).encode())
    return WebhookConfig(document)


def _document(config: Config, stamp: dict[str, str]) -> dict[str, Any]:
    return {
        "stamp": {**stamp, "state_dir": config.state_dir},
        "state_dir": config.state_dir,
        "max_body": config.max_body,
        "env_names": config.env_names,
        "repos": {name: _repo(repo) for name, repo in config.repos.items()},
    }


def _repo(repo: Repo) -> dict[str, Any]:
    return {
        "branch": repo.branch,
        "tags": repo.tags,
        "on": repo.on,
        "forge": repo.forge,
        "id": repo.id,
        "full_name": repo.full_name,
        "secrets": [secret.reference for secret in repo.webhook_secrets],
    }


def _try_to_write(path: str, data: bytes) -> None:
    try:
        _write(path, data)
    except OSError:
        return


def _write(path: str, data: bytes) -> None:
    """The file appears whole or not at all, and nobody else may ever read it."""
    temporary = f"{path}.{os.urandom(8).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # a umask can take more away than it should
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
