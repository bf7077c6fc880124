"""Whether anybody hears of a deployment that fails."""

from __future__ import annotations

from collections.abc import Iterator

from deployctl.check.config import secret_faults
from deployctl.check.finding import Finding, fail, ok, warn
from deployctl.notices.messenger import why_unusable
from deployctl.values.repo import Channel, Config, Repo

_HOW = "name a channel under channels and notify in repos.yml (its example shows both)"


def channels(config: Config) -> Iterator[Finding]:
    """Each channel's url can be read, and Apprise knows what it means."""
    if not config.channels:
        yield warn("channels", "there is no channel: nobody hears of a failed deployment", _HOW)
    for channel in config.channels.values():
        found = [*secret_faults("channels", channel.url)] or [*_unknown(channel)]
        yield from found or [ok("channels", f"{channel.name}: its url can be read")]


def notify(config: Config, repo: Repo) -> Iterator[Finding]:
    """Where there are channels, a repo without one was probably forgotten."""
    if repo.notify:
        names = ", ".join(dict.fromkeys(each.channel for each in repo.notify))
        yield ok("channels", f"notices go to {names}")
    elif config.channels:
        known = ", ".join(config.channels)
        what = "notify names no channel: nobody hears of a failed deployment"
        yield warn("channels", what, f"set notify of {repo.name} in repos.yml (there are: {known})")


def _unknown(channel: Channel) -> Iterator[Finding]:
    reason = why_unusable(channel)
    if reason is not None:
        yield fail("channels", f"{channel.name}: {reason}", f"deployctl notify {channel.name}")
