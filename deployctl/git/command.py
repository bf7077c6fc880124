"""One way to call git: no prompts, no foreign configuration, no hooks, always a deadline."""

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
    # Submodules are ours to look after; git would ask the remotes that a checkout's have.
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    # Refuse trees made to attack a checkout (a file named .git); the two exceptions are harmless
    # marks of old tools that many real histories carry.
    "fetch.fsckObjects=true",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    # What is fetched appears whole or not at all, and is on the disk before a ref names it; so
    # is the index, which git cannot do without.
    "fetch.unpackLimit=1",
    "core.fsync=committed,reference,index",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)
_LOCAL_TIMEOUT = 600.0

# git's and ssh's own words (LC_ALL=C) -> what a person does next; the first that fits.
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
        "the history has it, also where the newest commit has not: rewrite it without that commit",
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
    """Run git in ``/`` -> its output without the last line break; ``timeout`` is in seconds.

    ``what`` begins the error's sentence, ``late`` ends it when the time was not enough. Raises
    :class:`GitError` with git's own last words and what to do about them.
    """
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    done = run(
        ["git", *settings, *arguments],
        cwd="/",  # a repository around the caller's directory has no say
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
        raise GitError(_explain(what, errors), errors, done.exit_code)
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def local_environment() -> dict[str, str]:
    """The environment of every git call: built from nothing, English, never a prompt."""
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
def process_environment(ours: dict[str, str]) -> Iterator[None]:
    """GitPython hands the process's environment on to git, the caller's GIT_DIR included."""
    theirs = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(ours)
        yield
    finally:
        os.environ.clear()
        os.environ.update(theirs)


def _explain(what: str, errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    for mark, advice in _ADVICE:
        said = next((line for line in lines if mark in line), None)
        if said is not None:
            return f"{what}: {_words(said)}; {advice}"
    return f"{what}: {_words(_chief(lines))}"


def _chief(lines: Sequence[str]) -> str:
    """The line that says most: git's first complaint, or what the remote said before it."""
    for before, line in zip(("", *lines), lines, strict=False):
        if line.startswith(("fatal:", "error:")):
            return before if before and "Could not read from remote" in line else line
    return lines[-1] if lines else "it gave no reason"


def _words(line: str) -> str:
    return line.removeprefix("fatal: ").removeprefix("error: ").strip("@ .")
