"""What starts the worker: cron or a timer each minute, and the webhook for a delivery."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployctl.check.finding import Finding, ok, warn
from deployctl.manual.own_command import setup_command
from deployctl.system.environment import account, base_environment
from deployctl.system.process import run
from deployctl.system.wake import (
    SECONDS_TO_ANSWER,
    method_without_unit,
    start_method,
    unanswered_seconds,
    wake_dir,
)
from deployctl.values.repo import Config
from deployctl.values.times import duration

if TYPE_CHECKING:
    from deployctl.system.wake import Way

_TIMEOUT = 10.0  # seconds
# cron(8): what is in cron.d has such a name, or is not read.
_CRON_NAME = re.compile(r"[A-Za-z0-9_-]+")
# A command of ours that works the queue off, with options and paths in between.
_CALL = re.compile(r"(?:^|[\s/=])deployctl(?:\s+[^\s;&|]+)*?\s+(?:run|sync)(?=\s|$|[;&|>])")
_UNIT = "deployctl.path"
# systemd.kill(5): with these, a service that is stopped leaves what its programs started.
_SPARING = ("process", "none")
_WORDS: dict[Way, str] = {
    "unit": f"systemd starts the worker for a delivery: {_UNIT}",
    "scope": "a delivery starts the worker in a scope of this account's own systemd",
    "session": "a delivery starts the worker in a session of its own",
}


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

    It finds what no webhook started a worker for, by whatever way :func:`start` reports.
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
        for line in _calls(_text_of(path)):
            yield _Starter(path, _user_of(line))
    done = run(places.own, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    for _ in _calls(done.stdout.decode(errors="replace")):
        yield _Starter("crontab")
        break
    for directory in places.units:
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.timer"))):
            service = f"{path.removesuffix('.timer')}.service"
            text = _text_of(service)
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


@dataclass(frozen=True)
class Machine:
    """Whom to ask: the kernel's processes, and systemd."""

    proc: str = "/proc"
    is_active: tuple[str, ...] = ("systemctl", "is-active", "--quiet")
    kill_mode: tuple[str, ...] = ("systemctl", "show", "--property=KillMode", "--value")


def start(config: Config, machine: Machine | None = None) -> Iterator[Finding]:
    """systemd starts it, or nothing that a restart step may restart takes it along."""
    ask, how = machine or Machine(), start_method(config.state_dir)
    setup = f"{setup_command('systemd', config.path)} | sudo sh"
    age = unanswered_seconds(config.state_dir)
    dead = age is not None and _why_dead(config.state_dir, age, ask)
    if dead:
        yield warn("start", f"{dead}; until it is, {_WORDS[method_without_unit()]}", setup)
    elif how == "session" and (service := next(_ending(ask), None)):
        what = f"{_WORDS[how]} inside {service}: restarting that ends the deployment"
        yield warn("start", what, setup)
    else:
        yield ok("start", _WORDS[how])


def _why_dead(state_dir: str, age: float, ask: Machine) -> str | None:
    if age > SECONDS_TO_ANSWER:
        return f"{wake_dir(state_dir)}/now was left for {duration(age)}: {_UNIT} is not active"
    done = run((*ask.is_active, _UNIT), env=base_environment(), timeout=_TIMEOUT, cwd="/")
    return None if done.exit_code == 0 else f"{_UNIT} is not active"


def _ending(ask: Machine) -> Iterator[str]:
    """The services that programs of this account run in and that take them along."""
    for service in dict.fromkeys(filter(None, map(_service, _places(ask.proc)))):
        argv = (*ask.kill_mode, service)
        done = run(argv, env=base_environment(), timeout=_TIMEOUT, cwd="/")
        if done.stdout.decode(errors="replace").strip() not in _SPARING:
            yield service


def _places(proc: str) -> Iterator[str]:
    """What cgroups(7) shows of this process, and of fcgiwrap where it is this account's."""
    yield os.path.join(proc, "self", "cgroup")
    for pid in sorted(filter(str.isdigit, os.listdir(proc))):
        directory = os.path.join(proc, pid)
        if _text_of(os.path.join(directory, "comm")) == "fcgiwrap\n":
            try:
                if os.stat(directory).st_uid == os.geteuid():
                    yield os.path.join(directory, "cgroup")
            except OSError:
                continue


def _service(path: str) -> str | None:
    """``0::/system.slice/fcgiwrap.service`` -> ``fcgiwrap.service``; None for a scope."""
    for line in _text_of(path).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" or controllers == "name=systemd":
            unit = os.path.basename(group)
            if unit.endswith(".service"):
                return unit
    return None


def _text_of(path: str) -> str:
    """Return the text of a file; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
