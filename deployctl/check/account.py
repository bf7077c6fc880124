"""Who this is, and whose the state directory is: one account owns what deployctl keeps."""

from __future__ import annotations

from collections.abc import Iterator

from deployctl.check.finding import Finding, fail, ok
from deployctl.errors import ForeignError
from deployctl.manual.own_command import this_command_as
from deployctl.store.database import check_owner
from deployctl.system import environment
from deployctl.values.repo import Config


def _foreign(config: Config) -> ForeignError | None:
    try:
        check_owner(config.state_dir)
    except ForeignError as error:
        return error
    except OSError:  # not made yet
        return None
    return None


def is_foreign(config: Config) -> bool:
    """Whether the state is somebody else's: all else would be true of that account only."""
    return _foreign(config) is not None


def account(config: Config) -> Iterator[Finding]:
    """Keys, known hosts and permissions are those of the account that runs deployctl."""
    who, foreign = environment.account(), _foreign(config)
    if foreign is not None:
        what = f"{config.state_dir} belongs to {foreign.owner} and this is {who.user}"
        fix = this_command_as(foreign.owner, config.path)
        yield fail("account", f"{what}; nothing else was looked at", fix)
    else:
        yield ok("account", f"{who.user} (uid {who.uid}), at home in {who.home}")
