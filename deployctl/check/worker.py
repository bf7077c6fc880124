"""Whether something starts ``deployctl run`` by itself, where a webhook could not."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from deployctl.check.finding import Finding, ok, warn
from deployctl.check.reading import text_of
from deployctl.manual.own_command import setup_command
from deployctl.system.environment import account, base_environment
from deployctl.system.process import run
from deployctl.values.repo import Config

_TIMEOUT = 10.0
# cron(8): what is in cron.d has such a name, or is not read.
_CRON_NAME = re.compile(r"[A-Za-z0-9_-]+")
# A command of ours that works the queue off, with options and paths in between.
_CALL = re.compile(r"(?:^|[\s/=])deployctl(?:\s+[^\s;&|]+)*?\s+(?:run|sync)(?=\s|$|[;&|>])")


@dataclass(frozen=True)
class Places:
    """Where lines for cron and units of systemd are looked for."""

    crontab: str = "/etc/crontab"
    cron_d: str = "/etc/cron.d"
    units: tuple[str, ...] = ("/etc/systemd/system", "/usr/local/lib/systemd/system")
    own: tuple[str, ...] = ("crontab", "-l")


@dataclass(frozen=True)
class _Starter:
    """A line that starts the worker: where it stands, and for which account, None: as ours."""

    place: str
    user: str | None = None


def worker(config: Config, places: Places | None = None) -> Iterator[Finding]:
    """cron or a timer starts the worker as this account, so that nothing waits for ever.

    That is the net under every way of :mod:`deployctl.check.start`.
    """
    found = list(_starters(places or Places()))
    me = account().user
    ours = [starter for starter in found if starter.user in (None, me)]
    if ours:
        yield ok("worker", f"started by {', '.join(dict.fromkeys(each.place for each in ours))}")
    elif found:
        others = ", ".join(f"{starter.user} ({starter.place})" for starter in found)
        what = f"started for {others}, and not for {me}{_unwatched(config)}"
        yield warn("worker", what, _fix(config))
    else:
        what = "neither cron nor a timer starts deployctl run: what a crash leaves would wait"
        yield warn("worker", f"{what}{_unwatched(config)}", _fix(config))


def _unwatched(config: Config) -> str:
    names = ", ".join(name for name, repo in config.repos.items() if repo.probation)
    return f"; nobody would look after what is on probation ({names})" if names else ""


def _fix(config: Config) -> str:
    return (
        f"{setup_command('systemd', config.path)} | sudo sh\n"
        "or, without systemd:\n"
        f"{setup_command('cron', config.path)} | sudo tee /etc/cron.d/deployctl"
    )


def _starters(places: Places) -> Iterator[_Starter]:
    names = sorted(glob.glob(os.path.join(glob.escape(places.cron_d), "*")))
    tables = [name for name in names if _CRON_NAME.fullmatch(os.path.basename(name))]
    for path in (places.crontab, *tables):
        for line in _calls(text_of(path)):
            yield _Starter(path, _user_of(line))
    done = run(places.own, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    for _ in _calls(done.stdout.decode(errors="replace")):
        yield _Starter("crontab")
        break
    for directory in places.units:
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.timer"))):
            service = f"{path.removesuffix('.timer')}.service"
            text = text_of(service)
            if any(line.startswith("ExecStart=") for line in _calls(text)):
                yield _Starter(service, _account_of(text))


def _account_of(service: str) -> str:
    """Behind ``User=``, or where systemd-run is told."""
    found = re.search(r"(?m)^User=(\S+)|^ExecStart=.* --uid=(\S+)", service)
    return (found[1] or found[2]) if found else "root"


def _calls(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if not line.startswith(("#", ";")) and _CALL.search(line)]


def _user_of(line: str) -> str | None:
    """crontab(5): behind the five fields of the time, or behind ``@hourly`` and its like."""
    fields = line.split()
    place = 1 if line.startswith("@") else 5
    return fields[place] if len(fields) > place else None
