"""The errors that deployctl raises on purpose, all of one family.

The command line turns them into a message and an exit code, the webhook into an HTTP answer. The
webhook loads this module, so it imports nothing.
"""

from __future__ import annotations


class DeployctlError(Exception):
    """An error that a person can correct; its message says what, where, and what to do next.

    ``exit_code`` is the exit code of a command that ends with this error.
    """

    exit_code = 1


class UsageError(DeployctlError):
    """Wrong usage of a command, or an unknown repo or number."""

    exit_code = 2


class ForeignError(UsageError):
    """The state directory belongs to another account.

    ``owner`` is that account, as ``sudo -u`` takes it: a name, or ``#`` and the user id.
    """

    def __init__(self, message: str, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


class ConfigError(DeployctlError):
    """repos.yml, or a file that it names, cannot be used; the message lists all its errors."""

    exit_code = 2


class RefusedError(DeployctlError):
    """deployctl refuses a request, until a person changes something or insists.

    For example: the revision is held or not on the branch, the repo is locked, or there is no
    release to roll back to.
    """

    exit_code = 5


class BusyError(DeployctlError):
    """Another process has not finished its work yet; the same command can succeed later."""

    exit_code = 75


class StoreError(DeployctlError):
    """The state directory cannot be read or written."""


class GitError(DeployctlError):
    """A git command failed, or its remote refused; ``output`` holds the last lines of its output.

    ``git_exit_code`` is None if git did not exit by itself.
    """

    def __init__(self, message: str, output: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.output = output
        self.git_exit_code = exit_code

    @property
    def is_answer(self) -> bool:
        """Tell whether git exited by itself; if it was killed or timed out, it gave no answer."""
        return self.git_exit_code is not None


class LayoutError(DeployctlError):
    """The directory that a repo is deployed to cannot be used.

    For example, a file is in the way, or a permission is missing.
    """


class Interrupted(BaseException):
    """A signal asked this process to stop.

    It is no Exception, so that ``except Exception`` does not catch it.
    """

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name


def in_words(error: Exception) -> str:
    """Return an error as one line for people.

    For an OSError, such as a full disk, this is the path and the reason, without the errno.
    """
    if not isinstance(error, OSError):
        return str(error)
    path = error.filename2 or error.filename
    return f"{path}: {error.strerror}" if path else error.strerror or str(error)
