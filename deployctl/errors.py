"""The one family of errors that can be expected; each edge turns them into its own answer.

This module is on the webhook's way: it imports nothing.
"""

from __future__ import annotations


class DeployctlError(Exception):
    """Something a person can mend: a sentence saying what, where, and what to do next.

    ``exit_code`` is what a command ends with when this error ends it.
    """

    exit_code = 1


class UsageError(DeployctlError):
    """The command, or what it names, does not exist: wrong usage, unknown repo or number."""

    exit_code = 2


class ForeignError(UsageError):
    """The state is that of another account, ``owner`` as ``sudo -u`` takes it."""

    def __init__(self, message: str, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


class ConfigError(DeployctlError):
    """repos.yml, or a file it points to, cannot be used; holds every complaint at once."""

    exit_code = 2


class RefusedError(DeployctlError):
    """Not now and not by itself: held, locked, nothing to roll back to, not on the branch."""

    exit_code = 5


class BusyError(DeployctlError):
    """Somebody else is at it; the same command works later."""

    exit_code = 75


class StoreError(DeployctlError):
    """The state directory cannot be read or written."""


class GitError(DeployctlError):
    """git, or the remote it talked to, said no; ``output`` holds its last lines."""

    def __init__(self, message: str, output: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.output = output
        self.git_exit_code = exit_code

    @property
    def is_answer(self) -> bool:
        """Whether git came to its own end; killed or out of time it has said neither yes nor no."""
        return self.git_exit_code is not None


class LayoutError(DeployctlError):
    """The place a repo is deployed to is not as it must be (a file in the way, no permission)."""


class Interrupted(BaseException):
    """A signal asked this process to stop; not an Exception, so that nothing swallows it."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name


def in_words(error: Exception) -> str:
    """An error as a line for people: the machine's own (a full disk) with its place, no number."""
    if not isinstance(error, OSError):
        return str(error)
    place = error.filename2 or error.filename
    return f"{place}: {error.strerror}" if place else error.strerror or str(error)
