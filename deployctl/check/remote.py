"""Where git fetches from: reachable, with the right branch, by a private key, to a known host."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from deployctl.check.finding import Finding, fail, ok
from deployctl.check.permissions import changeable
from deployctl.git.mirror import Mirror
from deployctl.git.remote import protocol
from deployctl.system.environment import account, base_environment
from deployctl.system.process import run
from deployctl.values.repo import Config, Repo

# A remote that is well answers in a second; a person waits for this.
PATIENCE = 30.0
_TIMEOUT = 10.0
SYSTEM_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


def remote(_config: Config, repo: Repo) -> Iterator[Finding]:
    """Asks the remote as a deployment would. :class:`GitError` brings git's words and advice."""
    ref = f"refs/heads/{repo.branch}" if repo.tags is None else "HEAD"
    asked = replace(repo, fetch_timeout=min(repo.fetch_timeout, PATIENCE))
    # A mirror keeps a file beside it for git, and this must leave nothing in the state directory.
    with tempfile.TemporaryDirectory(prefix="deployctl-") as aside:
        os.mkdir(os.path.join(aside, "mirrors"))
        tip = Mirror(asked, aside).remote_tip(ref)
    if repo.tags is not None:
        yield ok("remote", f"{repo.url} answers; tags like {repo.tags} are deployed")
    elif tip is None:
        fix = f"push it, or set branch of {repo.name} in repos.yml"
        yield fail("remote", f"{repo.url} has no branch {repo.branch}", fix)
    else:
        yield ok("remote", f"{repo.url}: {repo.branch} is at {tip[:12]}")


def ssh_key(_config: Config, repo: Repo) -> Iterator[Finding]:
    """ssh takes no key that others can read, and nobody is there to type a passphrase."""
    key = repo.ssh_key
    if key is None:
        return
    place = shlex.quote(key)
    if not os.path.isfile(key):
        what = f"{key} does not exist"
        fix = f"ssh-keygen -t ed25519 -N '' -f {place}, then add {place}.pub as a deploy key"
        yield fail("ssh_key", what, fix)
    elif os.stat(key).st_mode & 0o077:
        yield fail("ssh_key", f"ssh refuses {key}: others can read it", f"chmod 600 {place}")
    elif not os.access(key, os.R_OK):
        owner = f"sudo chown $(id -un) {place}"
        yield fail("ssh_key", f"{key} cannot be read by this account", owner)
    elif not _opens_without_passphrase(key):
        what = f"{key} is no private key, or it has a passphrase that nobody can type"
        yield fail("ssh_key", what, f"ssh-keygen -p -N '' -f {place}")
    else:
        yield ok("ssh_key", key)


def _opens_without_passphrase(key: str) -> bool:
    argv = ["ssh-keygen", "-y", "-P", "", "-f", key]
    done = run(argv, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    return done.exit_code in (0, 127)  # without ssh-keygen nobody can tell


def known_hosts(_config: Config, repo: Repo) -> Iterator[Finding]:
    """ssh asks nobody whether to trust a host, so its key must be known before."""
    host = ssh_host(repo.url)
    if host is None:
        return
    own = repo.known_hosts or os.path.join(account().home, ".ssh", "known_hosts")
    files = [path for path in (own, *SYSTEM_KNOWN_HOSTS) if os.path.exists(path)]
    if not any(_is_known(host, path) for path in files):
        fix = f"{_keyscan(host)} >>{shlex.quote(own)}, then compare its fingerprint: {_shown(own)}"
        yield fail("known_hosts", f"the key of {host} is not in {own}", fix)
        return
    exposed = list(changeable("known_hosts", own)) if os.path.exists(own) else []
    yield from exposed or [ok("known_hosts", f"the key of {host} is known")]


def ssh_host(url: str) -> str | None:
    """The host as known_hosts has it, ``[host]:port`` where the port is not 22; None: no ssh."""
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
    done = run(argv, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    return done.exit_code in (0, 127)


def _keyscan(host: str) -> str:
    name, _, port = host.removeprefix("[").partition("]:")
    return f"ssh-keyscan -p {port} {name}" if port else f"ssh-keyscan {host}"


def _shown(path: str) -> str:
    return f"ssh-keygen -lf {shlex.quote(path)}"
