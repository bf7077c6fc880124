"""Write a shell script that installs the systemd units for deployctl.

The webhook creates a file in ``wake/`` in the state directory. A path unit watches that directory
and starts ``deployctl.service``, which removes the file and starts the worker with systemd-run. The
service ends at once, while the worker still builds, so the next delivery can start another worker.

Sources: systemd.path(5), systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.timer(5),
systemd-run(1) of systemd 252.
"""

from __future__ import annotations

from deployctl.manual.own_command import setup_command
from deployctl.manual.setup.installation import Installation
from deployctl.system.wake import wake_dir

_UNITS = "/etc/systemd/system"
# The most that a worker needs to end its steps, undo an unfinished switch and record the outcome.
_SECONDS_TO_STOP = 90
SOCKET = "/run/deployctl-cgi.sock"
# Command -> OnCalendar= of its timer.
_TIMERS = {"run": "minutely", "sync": "*:0/10"}


def systemd(here: Installation) -> str:
    """Return a script for ``sudo sh`` that installs the units and starts them."""
    units = {**_path_units(here), **_timer_units(here), **_webhook_units(here)}
    enabled = ["deployctl.path", *(f"deployctl-{command}.timer" for command in _TIMERS)]
    lines = [
        "#!/bin/sh",
        f"# Lets systemd start deployctl as {here.account}. Read it, then run:",
        f"#   {setup_command('systemd', here.config)} | sudo sh",
        *_remarks(here),
        "set -eu",
        f"runuser -u {here.account} -- sh -c 'umask 077; mkdir -p {wake_dir(here.state_dir)}'",
        *(_write_unit(name, text) for name, text in units.items()),
        "systemctl daemon-reload",
        f"systemctl enable {' '.join(enabled)}",
        f"systemctl restart {' '.join(enabled)}",
    ]
    if here.fcgiwrap:
        lines += [
            "systemctl enable --now deployctl-cgi.socket",
            "systemctl try-restart deployctl-cgi.service",
        ]
    return "\n".join([*lines, ""])


def _remarks(here: Installation) -> list[str]:
    remarks = []
    if here.env_names:
        remarks += [
            f"# repos.yml takes {', '.join(here.env_names)} from the environment: write",
            f"# NAME=value lines into {here.env_file}, and let only root read it.",
        ]
    if not here.fcgiwrap:
        remarks.append("# fcgiwrap is not installed here, so nothing is set up for nginx.")
    return remarks


def _write_unit(name: str, text: str) -> str:
    return f"cat >{_UNITS}/{name} <<'END'\n{text}END"


def _path_units(here: Installation) -> dict[str, str]:
    """Return the path unit and the service that it starts.

    The start limit ends an endless loop: at most 100 starts in 10 seconds.
    """
    wake = wake_dir(here.state_dir)
    return {
        "deployctl.path": (
            "[Unit]\n"
            "Description=Deliveries for deployctl\n"
            "[Path]\n"
            f"DirectoryNotEmpty={wake}\n"
            "[Install]\n"
            "WantedBy=paths.target\n"
        ),
        "deployctl.service": (
            "[Unit]\n"
            "Description=Start deployctl for a delivery\n"
            "StartLimitIntervalSec=10\n"
            "StartLimitBurst=100\n"
            "[Service]\n"
            "Type=oneshot\n"
            "LogLevelMax=notice\n"
            f"User={here.account}\n"
            f"ExecStart=/usr/bin/find {wake} -mindepth 1 -delete\n"
            f"ExecStart=+{_worker(here, 'run')}\n"
        ),
    }


def _timer_units(here: Installation) -> dict[str, str]:
    """Return timers that do what cron would.

    ``run`` repairs after a crash, ``sync`` finds pushes whose webhook never arrived.
    """
    units = {}
    for command, times in _TIMERS.items():
        units[f"deployctl-{command}.timer"] = (
            "[Unit]\n"
            f"Description=deployctl {command}, at regular intervals\n"
            "[Timer]\n"
            f"OnCalendar={times}\n"
            "AccuracySec=10s\n"
            "[Install]\n"
            "WantedBy=timers.target\n"
        )
        units[f"deployctl-{command}.service"] = (
            "[Unit]\n"
            f"Description=Start deployctl {command}\n"
            "[Service]\n"
            "Type=oneshot\n"
            "LogLevelMax=notice\n"
            f"ExecStart={_worker(here, command)}\n"
        )
    return units


def _webhook_units(here: Installation) -> dict[str, str]:
    """Return units that run fcgiwrap as this account; none if fcgiwrap is not installed.

    The unit that Debian installs runs it as the account of the web server.
    """
    if not here.fcgiwrap:
        return {}
    return {
        "deployctl-cgi.socket": (
            "[Socket]\n"
            f"ListenStream={SOCKET}\n"
            f"SocketUser={here.web_account}\n"
            "SocketMode=0600\n"
            "[Install]\n"
            "WantedBy=sockets.target\n"
        ),
        "deployctl-cgi.service": (
            "[Service]\n"
            f"User={here.account}\n"
            f"Environment=DEPLOYCTL_CONFIG={here.config}\n"
            + (f"EnvironmentFile=-{here.env_file}\n" if here.env_names else "")
            + f"ExecStart={here.fcgiwrap} -c 4\n"
            # If deploy.cgi had to start a worker itself, that goes on when this service is stopped.
            "KillMode=process\n"
        ),
    }


def _worker(here: Installation, command: str) -> str:
    """Return the command that runs a worker in a transient service of its own; root must run it.

    ``KillMode=process``: stopping the service signals only the worker, which ends its steps itself.
    A daemon that a restart step started must go on. ``OOMPolicy=continue``: a step that runs out of
    memory fails like any other, and the worker goes on. The log levels keep the worker's own lines
    in the journal and drop the lines that say that it was started.
    """
    properties = {
        "KillMode": "process",
        "TimeoutStopSec": str(_SECONDS_TO_STOP),
        "OOMPolicy": "continue",
        "LogLevelMax": "notice",
        "SyslogLevel": "notice",
        "SyslogIdentifier": "deployctl",
    }
    if here.env_names:
        properties["EnvironmentFile"] = f"-{here.env_file}"
    words = [
        *("/usr/bin/systemd-run", "--quiet", "--collect", "--slice=deployctl"),
        f'"--description=deployctl {command}"',
        f"--uid={here.account}",
        *(f"--property={name}={value}" for name, value in properties.items()),
        *("--", *here.call, command, "--quiet"),
    ]
    return " ".join(words)
