"""Check what starts the worker: cron or a timer every minute, and the webhook for a delivery."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployctl.check.finding import Finding, ok, warn
from deployctl.manual.own_command import setup_command
from deployctl.system.environment import base_environment, current_account
from deployctl.system.process import run
from deployctl.system.wake import (
    UNIT_TIMEOUT,
    method_without_unit,
    start_method,
    wake_dir,
    wake_file_age,
)
from deployctl.values.repo import Config
from deployctl.values.times import duration

if TYPE_CHECKING:
    from deployctl.system.wake import Way

_TIMEOUT = 10.0  # seconds
# cron(8): files in cron.d with other names are not read.
_CRON_NAME = re.compile(r"[A-Za-z0-9_-]+")
# ``deployctl run`` or ``deployctl sync``, with options and paths in between.
_WORKER_COMMAND = re.compile(
    r"(?:^|[\s/=])deployctl(?:\s+[^\s;&|]+)*?\s+(?:run|sync)(?=\s|$|[;&|>])"
)
_UNIT = "deployctl.path"
# systemd.kill(5): with these values of KillMode, stopping a service does not end the processes that
# its programs have started.
_NOT_KILLING = ("process", "none")
_METHODS: dict[Way, str] = {
    "unit": f"systemd starts the worker for a delivery: {_UNIT}",
    "scope": "a delivery starts the worker in a scope of this account's own systemd",
    "session": "a delivery starts the worker in a session of its own",
}


@dataclass(frozen=True)
class Places:
    """The files and directories that may have lines for cron or units of systemd.

    ``own`` is the command that prints the crontab of this account.
    """

    crontab: str = "/etc/crontab"
    cron_d: str = "/etc/cron.d"
    units: tuple[str, ...] = ("/etc/systemd/system", "/usr/local/lib/systemd/system")
    own: tuple[str, ...] = ("crontab", "-l")


@dataclass(frozen=True)
class _Starter:
    """A line that starts the worker: its file, and the account (None: this account)."""

    file: str
    user: str | None = None


def worker(config: Config, places: Places | None = None) -> Iterator[Finding]:
    """Check that cron or a timer starts the worker as this account.

    This worker runs all that a webhook has queued without starting a worker; how a webhook starts
    one is reported by :func:`start`.
    """
    found = list(_starters(places or Places()))
    me = current_account().user
    own = [starter for starter in found if starter.user in (None, me)]
    if own:
        yield ok(
            "worker", f"started by {', '.join(dict.fromkeys(starter.file for starter in own))}"
        )
    elif found:
        others = ", ".join(f"{starter.user} ({starter.file})" for starter in found)
        what = f"started for {others}, and not for {me}{_probation_warning(config)}"
        yield warn("worker", what, _fix(config))
    else:
        what = "neither cron nor a timer starts deployctl run: what a crash leaves would wait"
        yield warn("worker", f"{what}{_probation_warning(config)}", _fix(config))


def _probation_warning(config: Config) -> str:
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
        for line in _worker_lines(_text_of(path)):
            yield _Starter(path, _user_of(line))
    completed = run(places.own, env=base_environment(), timeout=_TIMEOUT, cwd="/")
    for _ in _worker_lines(completed.stdout.decode(errors="replace")):
        yield _Starter("crontab")
        break
    for directory in places.units:
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.timer"))):
            service = f"{path.removesuffix('.timer')}.service"
            text = _text_of(service)
            if any(line.startswith("ExecStart=") for line in _worker_lines(text)):
                yield _Starter(service, _account_of(text))


def _account_of(service: str) -> str:
    """Return the account of a service: from ``User=``, else from an option of systemd-run."""
    found = re.search(r"(?m)^User=(\S+)|^ExecStart=.* --uid=(\S+)", service)
    return (found[1] or found[2]) if found else "root"


def _worker_lines(text: str) -> list[str]:
    """Return the lines of a text that start the worker and are no comments."""
    lines = (line.strip() for line in text.splitlines())
    return [
        line for line in lines if not line.startswith(("#", ";")) and _WORKER_COMMAND.search(line)
    ]


def _user_of(line: str) -> str | None:
    """Return the account of a line in a system crontab, None where there is none.

    crontab(5): it is after the five fields of the time, or after ``@hourly`` and the like.
    """
    fields = line.split()
    position = 1 if line.startswith("@") else 5
    return fields[position] if len(fields) > position else None


@dataclass(frozen=True)
class Machine:
    """The sources of facts about this machine: the directory proc(5), and commands of systemd."""

    proc: str = "/proc"
    is_active: tuple[str, ...] = ("systemctl", "is-active", "--quiet")
    kill_mode: tuple[str, ...] = ("systemctl", "show", "--property=KillMode", "--value")


def start(config: Config, machine: Machine | None = None) -> Iterator[Finding]:
    """Report how a delivery starts the worker, and check that a restart step cannot end it.

    A step that restarts a service ends a worker that was started as a process of that service.
    """
    machine, method = machine or Machine(), start_method(config.state_dir)
    setup = f"{setup_command('systemd', config.path)} | sudo sh"
    age = wake_file_age(config.state_dir)
    fault = age is not None and _why_inactive(config.state_dir, age, machine)
    if fault:
        yield warn("start", f"{fault}; until it is, {_METHODS[method_without_unit()]}", setup)
    elif method == "session" and (service := next(_killing_services(machine), None)):
        what = f"{_METHODS[method]} inside {service}: restarting that ends the deployment"
        yield warn("start", what, setup)
    else:
        yield ok("start", _METHODS[method])


def _why_inactive(state_dir: str, age: float, machine: Machine) -> str | None:
    """Return in words why the path unit does not work, None where it does.

    ``age`` is for how many seconds it has not reacted.
    """
    if age > UNIT_TIMEOUT:
        return f"{wake_dir(state_dir)}/now was left for {duration(age)}: {_UNIT} is not active"
    completed = run((*machine.is_active, _UNIT), env=base_environment(), timeout=_TIMEOUT, cwd="/")
    return None if completed.exit_code == 0 else f"{_UNIT} is not active"


def _killing_services(machine: Machine) -> Iterator[str]:
    """Yield the services whose stop ends this process, or a process that fcgiwrap has started."""
    for service in dict.fromkeys(filter(None, map(_service_of, _cgroup_files(machine.proc)))):
        argv = (*machine.kill_mode, service)
        completed = run(argv, env=base_environment(), timeout=_TIMEOUT, cwd="/")
        if completed.stdout.decode(errors="replace").strip() not in _NOT_KILLING:
            yield service


def _cgroup_files(proc: str) -> Iterator[str]:
    """Yield the files that name the cgroup of this process and of each fcgiwrap of this account.

    cgroups(7) describes them.
    """
    yield os.path.join(proc, "self", "cgroup")
    for pid in sorted(filter(str.isdigit, os.listdir(proc))):
        directory = os.path.join(proc, pid)
        if _text_of(os.path.join(directory, "comm")) == "fcgiwrap\n":
            try:
                if os.stat(directory).st_uid == os.geteuid():
                    yield os.path.join(directory, "cgroup")
            except OSError:
                continue


def _service_of(path: str) -> str | None:
    """Return the service that a cgroup file names; None where it names a scope.

    Of ``0::/system.slice/fcgiwrap.service`` that is ``fcgiwrap.service``.
    """
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
