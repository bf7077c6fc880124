"""Call git: without prompts, hooks or configuration of others, and always with a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence

from deployctl.errors import GitError
from deployctl.system.environment import base_environment
from deployctl.system.process import run

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "protocol.ext.allow=never",
    # deployctl fetches submodules itself; git would contact the remotes that are configured in the
    # submodules of a checkout.
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    # Refuse trees that were made to attack a checkout (a file named .git). The two exceptions are
    # harmless errors of old tools, which many real histories contain.
    "fetch.fsckObjects=true",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    # A fetch stores its objects as one pack, completely or not at all (fetch.unpackLimit). Objects
    # are on the disk before a ref names them (core.fsync). The index is synced as well, because
    # git cannot work with a damaged one.
    "fetch.unpackLimit=1",
    "core.fsync=committed,reference,index",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)
_LOCAL_TIMEOUT = 600.0  # seconds

# A part of an error message of git or ssh (in English: LC_ALL=C) -> what the operator does next.
# The first pair whose text occurs in the output is used.
_ADVICE = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        (
            "compare the new key's fingerprint with the one the forge publishes; "
            "if it is that one, replace the old key in known_hosts"
        ),
    ),
    (
        "Host key verification failed",
        (
            "add the server's key to known_hosts: ssh-keyscan HOST >> ~/.ssh/known_hosts, "
            "then compare its fingerprint with the one the forge publishes"
        ),
    ),
    (
        "Permission denied (publickey",
        "add this account's public key as a deploy key at the forge, or name another with ssh_key",
    ),
    ("could not read Username", "the url needs credentials: use an ssh url with a deploy key"),
    ("Authentication failed", "the url needs credentials: use an ssh url with a deploy key"),
    ("Could not resolve host", "check the host's name in url and this machine's DNS"),
    ("connect to host", "check host and port in url, and this machine's network"),
    ("does not appear to be a git repository", "check url and what this account may read"),
    ("Repository not found", "check url, and that the deploy key belongs to this repository"),
    ("not allowed", "use an https or ssh url, or a path"),
    (
        "disallowed submodule",
        "a commit of the history has it, maybe not the newest: rewrite the history without it",
    ),
    ("mismatched algorithms", "only repositories with SHA-1 names can be deployed, not SHA-256"),
    (
        "dubious ownership",
        "run deployctl as the account that owns it, or give it to this one (chown -R)",
    ),
    ("index.lock': File exists", "another git is at work there: try again when it has finished"),
    ("'lfs' is not a git command", "install git-lfs: apt-get install git-lfs"),
    ("git-lfs: not found", "install git-lfs: apt-get install git-lfs"),
    ("No space left on device", "free some disk space"),
    ("unable to write file", "free some disk space"),
)


def git(
    arguments: Sequence[str],
    *,
    what: str,
    timeout: float = _LOCAL_TIMEOUT,
    late: str = "is this machine overloaded?",
    env: Mapping[str, str] | None = None,
    umask: int = 0o077,
    stdin: bytes = b"",
) -> str:
    """Run git in the directory ``/`` and return its standard output without the last line break.

    ``what`` is the beginning of every error message, such as "cannot fetch". ``late`` is the end
    of the message when git has not finished within ``timeout`` seconds. ``env`` is added to
    :func:`local_environment`. Raise :class:`GitError` with git's own message and what to do next.
    """
    settings = [argument for setting in _SETTINGS for argument in ("-c", setting)]
    done = run(
        ["git", *settings, *arguments],
        cwd="/",  # the configuration of a repository around the caller's directory must not apply
        env={**local_environment(), **(env or {})},
        timeout=timeout,
        umask=umask,
        input=stdin,
    )
    errors = done.stderr.decode("utf-8", "backslashreplace").strip()
    if done.timed_out:
        raise GitError(f"{what}: not finished within {timeout:g}s; {late}", errors)
    if done.exit_code == 127:
        raise GitError(f"{what}: git is not installed; install it: apt-get install git")
    if done.exit_code < 0:
        killer = signal.Signals(-done.exit_code).name
        raise GitError(f"{what}: git was killed by {killer}; was there too little memory?", errors)
    if done.exit_code != 0:
        raise GitError(_failure_message(what, errors), errors, done.exit_code)
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def local_environment() -> dict[str, str]:
    """Return the environment of every git call: no variable of the caller, English, no prompts."""
    return {
        **base_environment(),
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": "file",
    }


@contextlib.contextmanager
def process_environment(environment: dict[str, str]) -> Iterator[None]:
    """Replace the environment of this process while the block runs, then restore it.

    GitPython passes the environment of this process to git, including a GIT_DIR of the caller.
    """
    saved = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def _failure_message(what: str, errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    for part, advice in _ADVICE:
        matching = next((line for line in lines if part in line), None)
        if matching is not None:
            return f"{what}: {_without_prefix(matching)}; {advice}"
    return f"{what}: {_without_prefix(_main_line(lines))}"


def _main_line(lines: Sequence[str]) -> str:
    """Return the line that explains the failure best.

    That is the first line that begins with fatal: or error:. Where that one only says that git
    could not read from the remote, it is the line before, which came from ssh or the remote.
    """
    for before, line in zip(("", *lines), lines, strict=False):
        if line.startswith(("fatal:", "error:")):
            return before if before and "Could not read from remote" in line else line
    return lines[-1] if lines else "it gave no reason"


def _without_prefix(line: str) -> str:
    """Return the line without ``fatal:``, ``error:`` and the frame of ``@`` that ssh prints."""
    return line.removeprefix("fatal: ").removeprefix("error: ").strip("@ .")
