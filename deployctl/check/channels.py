"""Check that a deployment which fails sends a notice to somebody."""

from __future__ import annotations

from collections.abc import Iterator

from deployctl.check.config import secret_faults
from deployctl.check.finding import Finding, fail, ok, warn
from deployctl.notices.messenger import url_error
from deployctl.values.repo import Channel, Config, Repo

_ADD_CHANNEL = "name a channel under channels and notify in repos.yml (its example shows both)"


def channels(config: Config) -> Iterator[Finding]:
    """Check that the url of each channel can be read and is one that Apprise knows."""
    if not config.channels:
        yield warn(
            "channels", "there is no channel: nobody hears of a failed deployment", _ADD_CHANNEL
        )
    for channel in config.channels.values():
        found = [*secret_faults("channels", channel.url)] or [*_unusable(channel)]
        yield from found or [ok("channels", f"{channel.name}: its url can be read")]


def notify(config: Config, repo: Repo) -> Iterator[Finding]:
    """Check that a repo has ``notify``, where there are channels: it was probably forgotten."""
    if repo.notify:
        names = ", ".join(dict.fromkeys(subscription.channel for subscription in repo.notify))
        yield ok("channels", f"notices go to {names}")
    elif config.channels:
        known = ", ".join(config.channels)
        what = "notify names no channel: nobody hears of a failed deployment"
        yield warn("channels", what, f"set notify of {repo.name} in repos.yml (there are: {known})")


def _unusable(channel: Channel) -> Iterator[Finding]:
    reason = url_error(channel)
    if reason is not None:
        yield fail("channels", f"{channel.name}: {reason}", f"deployctl notify {channel.name}")
