"""How a repo's url is reached: its one transport, its key, its known hosts."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from urllib.parse import unquote

from deployctl.values.repo import Repo


def remote_environment(repo: Repo) -> dict[str, str]:
    """What a call that talks to the repo's remote needs on top of the local environment."""
    return {
        "GIT_ALLOW_PROTOCOL": protocol(repo.url),
        "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
        "GIT_HTTP_LOW_SPEED_TIME": "60",
        "GIT_SSH_COMMAND": shlex.join(ssh_command(repo)),
        "GIT_SSH_VARIANT": "ssh",
    }


def ssh_command(repo: Repo) -> list[str]:
    """ssh that never asks, never trusts an unknown host, and offers this repo's key alone."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "3",
    }
    if repo.known_hosts:
        options["UserKnownHostsFile"] = _one_file(repo.known_hosts)
    if repo.ssh_key:
        options["IdentityFile"] = _one_file(repo.ssh_key)
        options["IdentitiesOnly"] = "yes"
    words = ["ssh", "-F", "/dev/null"]
    return words + [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def protocol(url: str) -> str:
    """The one transport that git may use for this url."""
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", url, re.ASCII)
    if scheme:
        return scheme.group(1)
    return "ssh" if local_path(url) is None else "file"


def local_path(url: str) -> str | None:
    """The path of a url on this machine; None where the url leads elsewhere."""
    if url.startswith("file://"):
        return unquote(url.removeprefix("file://"))
    return url if url.startswith("/") else None


def trust(path: str, config: str) -> dict[str, str]:
    """Let git read one repository that another account owns, because repos.yml names it.

    git honours ``safe.directory`` from protected configuration only, and its own children drop
    what the environment says; hence the file ``config``
    (https://git-scm.com/docs/git-config#SCOPES).
    """
    real = os.path.realpath(path)
    # gitrepository-layout(5): what a path may stand for.
    places = dict.fromkeys((path, real, f"{real}/.git", f"{real}.git"))
    text = "[safe]\n" + "".join(f'\tdirectory = "{_quoted(place)}"\n' for place in places)
    if _read(config) != text:
        _write(config, text)
    return {"GIT_CONFIG_GLOBAL": config}


def _one_file(path: str) -> str:
    """ssh_config(5): spaces part the names of files, and %-letters stand for other things."""
    return '"' + path.replace("%", "%%") + '"'


def _quoted(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"')


def _read(path: str) -> str | None:
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        return file.read()
    return None


def _write(path: str, text: str) -> None:
    """Whole at once: another process may be reading it."""
    beside = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.rename(beside, path)
