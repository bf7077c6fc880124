"""Check that this account owns the state directory: one account owns all that deployctl keeps."""

from __future__ import annotations

from collections.abc import Iterator

from deployctl.check.finding import Finding, fail, ok
from deployctl.errors import ForeignError
from deployctl.manual.own_command import this_command_as
from deployctl.store.database import check_owner
from deployctl.system import environment
from deployctl.values.repo import Config


def _owner_error(config: Config) -> ForeignError | None:
    """Return the error where another account owns the state directory, else None."""
    try:
        check_owner(config.state_dir)
    except ForeignError as error:
        return error
    except OSError:  # not made yet
        return None
    return None


def is_foreign(config: Config) -> bool:
    """Tell whether another account owns the state directory.

    The results of most checks would then be wrong: they are true of the account that runs them.
    """
    return _owner_error(config) is not None


def account(config: Config) -> Iterator[Finding]:
    """Report the account: keys, known hosts and permissions are those of the one that runs this."""
    me, error = environment.current_account(), _owner_error(config)
    if error is not None:
        what = f"{config.state_dir} belongs to {error.owner} and this is {me.user}"
        fix = this_command_as(error.owner, config.path)
        yield fail("account", f"{what}; nothing else was looked at", fix)
    else:
        yield ok("account", f"{me.user} (uid {me.uid}), at home in {me.home}")
