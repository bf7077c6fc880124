"""Connect git to the remote of a repo: allowed transport, ssh options, trusted local paths."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from urllib.parse import unquote

from deployctl.values.repo import Repo


def remote_environment(repo: Repo) -> dict[str, str]:
    """Return the variables that a git call needs to talk to the repo's remote.

    They are added to :func:`deployctl.git.command.local_environment`.
    """
    return {
        "GIT_ALLOW_PROTOCOL": protocol(repo.url),
        "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
        "GIT_HTTP_LOW_SPEED_TIME": "60",
        "GIT_SSH_COMMAND": shlex.join(ssh_command(repo)),
        "GIT_SSH_VARIANT": "ssh",
    }


def ssh_command(repo: Repo) -> list[str]:
    """Return an ssh command that never prompts and accepts no unknown host.

    Where the repo has an ``ssh_key``, ssh offers that key and no other.
    """
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "3",
    }
    if repo.known_hosts:
        options["UserKnownHostsFile"] = _quoted_for_ssh(repo.known_hosts)
    if repo.ssh_key:
        options["IdentityFile"] = _quoted_for_ssh(repo.ssh_key)
        options["IdentitiesOnly"] = "yes"
    arguments = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "/dev/null", *arguments]


def protocol(url: str) -> str:
    """Return the only transport that git may use for this url, such as ``https`` or ``file``."""
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", url, re.ASCII)
    if scheme:
        return scheme.group(1)
    return "ssh" if local_path(url) is None else "file"


def local_path(url: str) -> str | None:
    """Return the path that a url names on this machine; None where it names another machine."""
    if url.startswith("file://"):
        return unquote(url.removeprefix("file://"))
    return url if url.startswith("/") else None


def trust(path: str, config: str) -> dict[str, str]:
    """Let git read the repository at ``path`` even if another account owns it.

    The operator trusts that path, because repos.yml names it. git accepts ``safe.directory`` only
    from protected configuration (https://git-scm.com/docs/git-config#SCOPES), and the processes
    that git starts drop configuration given in the environment. So it is written to the file
    ``config``; the result is the variable that makes git read that file.
    """
    real = os.path.realpath(path)
    # The directories that a path may name (gitrepository-layout(5)).
    directories = dict.fromkeys((path, real, f"{real}/.git", f"{real}.git"))
    text = "[safe]\n" + "".join(
        f'\tdirectory = "{_quoted_for_git_config(directory)}"\n' for directory in directories
    )
    if _read(config) != text:
        _write(config, text)
    return {"GIT_CONFIG_GLOBAL": config}


def _quoted_for_ssh(path: str) -> str:
    """Return the path as an ssh option takes it for one file name.

    ssh_config(5): unquoted spaces separate file names, and % begins a token such as %h.
    """
    return '"' + path.replace("%", "%%") + '"'


def _quoted_for_git_config(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"')


def _read(path: str) -> str | None:
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        return file.read()
    return None


def _write(path: str, text: str) -> None:
    """Replace the file with rename(2), because another process may be reading it."""
    temporary = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.rename(temporary, path)
