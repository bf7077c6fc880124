"""By which way a delivery starts the worker, and whether it would outlive the web server there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployctl.check.finding import Finding, ok, warn
from deployctl.check.reading import text_of
from deployctl.manual.own_command import setup_command
from deployctl.system.environment import base_environment
from deployctl.system.process import run
from deployctl.system.wake import SECONDS_TO_ANSWER, by_ourselves, unanswered, wake_dir, way
from deployctl.values.repo import Config
from deployctl.values.times import duration

if TYPE_CHECKING:
    from deployctl.system.wake import Way

_TIMEOUT = 10.0
_UNIT = "deployctl.path"
# systemd.kill(5): with these, a service that is stopped leaves what its programs started.
_SPARING = ("process", "none")
_WORDS: dict[Way, str] = {
    "unit": f"systemd starts the worker for a delivery: {_UNIT}",
    "scope": "a delivery starts the worker in a scope of this account's own systemd",
    "session": "a delivery starts the worker in a session of its own",
}


@dataclass(frozen=True)
class Machine:
    """Whom to ask: the kernel's processes, and systemd."""

    proc: str = "/proc"
    is_active: tuple[str, ...] = ("systemctl", "is-active", "--quiet")
    kill_mode: tuple[str, ...] = ("systemctl", "show", "--property=KillMode", "--value")


def start(config: Config, machine: Machine | None = None) -> Iterator[Finding]:
    """systemd starts it, or nothing that a restart step may restart takes it along."""
    ask, how = machine or Machine(), way(config.state_dir)
    setup = f"{setup_command('systemd', config.path)} | sudo sh"
    age = unanswered(config.state_dir)
    dead = age is not None and _why_dead(config.state_dir, age, ask)
    if dead:
        yield warn("start", f"{dead}; until it is, {_WORDS[by_ourselves()]}", setup)
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
        if text_of(os.path.join(directory, "comm")) == "fcgiwrap\n":
            try:
                if os.stat(directory).st_uid == os.geteuid():
                    yield os.path.join(directory, "cgroup")
            except OSError:
                continue


def _service(path: str) -> str | None:
    """``0::/system.slice/fcgiwrap.service`` -> ``fcgiwrap.service``; None for a scope."""
    for line in text_of(path).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" or controllers == "name=systemd":
            unit = os.path.basename(group)
            if unit.endswith(".service"):
                return unit
    return None
