"""Check that git can fetch: the remote has the branch, the ssh key is private, the host known."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from deployctl.check.finding import Finding, fail, ok
from deployctl.check.permissions import changeable_by_others
from deployctl.git.mirror import Mirror
from deployctl.git.remote import protocol
from deployctl.system.environment import base_environment, current_account
from deployctl.system.process import run
from deployctl.values.repo import Config, Repo

# Seconds. A healthy remote answers within one; a person waits for the result of this.
_MAX_FETCH_TIMEOUT = 30.0
_TIMEOUT = 10.0
# The exit code where ssh-keygen is not installed, and so nothing can be said.
_NOT_FOUND = 127
_SYSTEM_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


def remote(_config: Config, repo: Repo) -> Iterator[Finding]:
    """Ask the remote for the branch, as a deployment does.

    :class:`GitError` has git's own words and advice.
    """
    ref = f"refs/heads/{repo.branch}" if repo.tags is None else "HEAD"
    impatient = replace(repo, fetch_timeout=min(repo.fetch_timeout, _MAX_FETCH_TIMEOUT))
    # A mirror writes a file for git beside itself; a check must not write to the state directory.
    with tempfile.TemporaryDirectory(prefix="deployctl-") as directory:
        os.mkdir(os.path.join(directory, "mirrors"))
        tip = Mirror(impatient, directory).remote_tip(ref)
    if repo.tags is not None:
        yield ok("remote", f"{repo.url} answers; tags like {repo.tags} are deployed")
    elif tip is None:
        fix = f"push it, or set branch of {repo.name} in repos.yml"
        yield fail("remote", f"{repo.url} has no branch {repo.branch}", fix)
    else:
        yield ok("remote", f"{repo.url}: {repo.branch} is at {tip[:12]}")


def ssh_key(_config: Config, repo: Repo) -> Iterator[Finding]:
    """Check that ssh can use the key: others cannot read it, and it has no passphrase."""
    key = repo.ssh_key
    if key is None:
        return
    quoted = shlex.quote(key)
    if not os.path.isfile(key):
        what = f"{key} does not exist"
        fix = f"ssh-keygen -t ed25519 -N '' -f {quoted}, then add {quoted}.pub as a deploy key"
        yield fail("ssh_key", what, fix)
    elif os.stat(key).st_mode & 0o077:
        yield fail("ssh_key", f"ssh refuses {key}: others can read it", f"chmod 600 {quoted}")
    elif not os.access(key, os.R_OK):
        fix = f"sudo chown $(id -un) {quoted}"
        yield fail("ssh_key", f"{key} cannot be read by this account", fix)
    elif not _opens_without_passphrase(key):
        what = f"{key} is no private key, or it has a passphrase that nobody can type"
        yield fail("ssh_key", what, f"ssh-keygen -p -N '' -f {quoted}")
    else:
        yield ok("ssh_key", key)


def _opens_without_passphrase(key: str) -> bool:
    argv = ["ssh-keygen", "-y", "-P", "", "-f", key]
    completed = run(argv, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    return completed.exit_code in (0, _NOT_FOUND)


def known_hosts(_config: Config, repo: Repo) -> Iterator[Finding]:
    """Check that the host's key is in known_hosts: no person can be asked whether to trust it."""
    host = ssh_host(repo.url)
    if host is None:
        return
    own = repo.known_hosts or os.path.join(current_account().home, ".ssh", "known_hosts")
    files = [path for path in (own, *_SYSTEM_KNOWN_HOSTS) if os.path.exists(path)]
    if not any(_is_known(host, path) for path in files):
        scan = f"{_keyscan(host)} >>{shlex.quote(own)}"
        fix = f"{scan}, then compare its fingerprint: {_show_fingerprint(own)}"
        yield fail("known_hosts", f"the key of {host} is not in {own}", fix)
        return
    exposed = list(changeable_by_others("known_hosts", own)) if os.path.exists(own) else []
    yield from exposed or [ok("known_hosts", f"the key of {host} is known")]


def ssh_host(url: str) -> str | None:
    """Return the host of a url as known_hosts names it; None where the url is not for ssh.

    That is ``[host]:port`` where the port is not 22.
    """
    if protocol(url) != "ssh":
        return None
    if not url.startswith("ssh://"):
        host = url.partition(":")[0].rpartition("@")[2]
        bracketed = re.match(r"(?:[^@/]*@)?\[([^\]]+)\]:", url)
        return bracketed[1] if bracketed else host
    parts = urlsplit(url)
    host = parts.hostname or ""
    return host if parts.port in (None, 22) else f"[{host}]:{parts.port}"


def _is_known(host: str, path: str) -> bool:
    argv = ["ssh-keygen", "-F", host, "-f", path]
    completed = run(argv, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    return completed.exit_code in (0, _NOT_FOUND)


def _keyscan(host: str) -> str:
    name, _, port = host.removeprefix("[").partition("]:")
    return f"ssh-keyscan -p {port} {name}" if port else f"ssh-keyscan {host}"


def _show_fingerprint(path: str) -> str:
    return f"ssh-keygen -lf {shlex.quote(path)}"
