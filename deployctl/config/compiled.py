"""The part of repos.yml that a webhook needs, read from a compiled copy in JSON.

Parsing YAML takes longer than the rest of answering a webhook. So the first delivery after a change
of repos.yml checks the whole file, and writes the values that the next deliveries need to
``config.json`` in the state directory: paths, names, branches and the references of webhook
secrets, but no value of ``secrets`` or channels. The copy is used only as long as repos.yml has
exactly the bytes that it was made from.

Every webhook imports this module, so it must load fast: it imports neither yaml nor dataclasses
nor typing.
"""

from __future__ import annotations

import os

from deployctl import __version__
from deployctl.config.locate import default_state_dir, read_config, resolve_path
from deployctl.errors import ConfigError
from deployctl.system.fast_imports import JsonReader, sha256, to_json
from deployctl.system.trust import belongs_to_this_account
from deployctl.values.secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployctl.values.repo import Config, Repo

COPY_FILE_NAME = "config.json"  # in the state directory


class WebhookRepo:
    """The values of a repo that recognise its deliveries and verify them."""

    __slots__ = ("branch", "forge", "full_name", "id", "name", "on", "secrets", "tags")

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        self.name = name
        self.branch: str = values["branch"]
        self.tags: str | None = values["tags"]
        self.on: str = values["on"]
        self.forge: str | None = values["forge"]
        self.id: str | None = values["id"]
        self.full_name: str | None = values["full_name"]
        self.secrets: tuple[Secret, ...] = tuple(map(Secret, values["secrets"]))


class WebhookConfig:
    """The part of repos.yml that a webhook needs.

    ``state_dir`` is absolute; ``max_body`` is how many bytes a request's body may have; ``repos``
    are by name. ``env_names`` are the environment variables of this process that the worker needs.
    """

    __slots__ = ("env_names", "max_body", "repos", "state_dir")

    def __init__(self, document: dict[str, Any]) -> None:
        self.state_dir: str = document["state_dir"]
        self.max_body: int = document["max_body"]
        self.env_names: tuple[str, ...] = tuple(document.get("env_names", ()))
        self.repos = {name: WebhookRepo(name, values) for name, values in document["repos"].items()}


def load_webhook_config(path: str) -> WebhookConfig:
    """Return the config at ``path`` (absolute), from the compiled copy if that is up to date.

    Raises ConfigError, as :func:`deployctl.config.load.load` does, if it is invalid.
    """
    data = read_config(path)
    stamp = {"config": path, "sha256": sha256(data).hexdigest(), "version": __version__}
    state_dir = _guess_state_dir(data, os.path.dirname(path))
    copy = _read_copy(state_dir, {**stamp, "state_dir": state_dir})
    return copy or _compile(data, path, stamp)


def guess_state_dir(path: str) -> str | None:
    """Return the state directory that a repos.yml names, even if the file is invalid.

    Returns None if the file cannot be read. Does not check which accounts can change the file.
    """
    try:
        return _guess_state_dir(read_config(path, trusted=False), os.path.dirname(path))
    except ConfigError:
        return None


def _guess_state_dir(data: bytes, directory: str) -> str:
    """Return the value of ``state_dir`` as found without a YAML parser, or the default.

    ``directory`` is that of repos.yml. After a wrong guess, repos.yml is only parsed again: the
    stamp of a compiled copy has the state directory that it was made for.
    """
    for line in data.splitlines():
        if line.startswith(b"state_dir:"):
            value = line[10:].decode(errors="replace").partition(" #")[0].strip().strip("'\"")
            return resolve_path(value, directory)
    return default_state_dir()


def _read_copy(state_dir: str, stamp: dict[str, str]) -> WebhookConfig | None:
    """Return the config from the compiled copy, or None if the copy cannot be used.

    It must have the same stamp, and no other account may be able to read or write it.
    """
    try:
        document = JsonReader().read(
            _read_private(os.path.join(state_dir, COPY_FILE_NAME)).decode()
        )
        return WebhookConfig(document) if document["stamp"] == stamp else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_private(path: str) -> bytes:
    """Return the bytes of the file, or b"" if other accounts can read or write it."""
    with open(path, "rb", opener=_open_no_link) as file:
        status = os.fstat(file.fileno())
        private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
        return file.read() if private else b""


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _compile(data: bytes, path: str, stamp: dict[str, str]) -> WebhookConfig:
    """Check the whole file, and write the compiled copy for later webhooks if that is possible."""
    from deployctl.config.load import parse

    config = parse(data, path)
    document = _document(config, stamp)
    # Without a copy, the next webhook is slower, but works. Other code creates the state directory.
    if belongs_to_this_account(config.state_dir):
        _try_to_write(os.path.join(config.state_dir, COPY_FILE_NAME), to_json(document).encode())
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
    """Write the file atomically, with a mode that lets no other account read it at any time."""
    temporary = f"{path}.{os.urandom(8).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # the umask may have removed bits of the owner
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
