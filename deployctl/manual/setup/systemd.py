"""Units of systemd, in a shell script that installs them.

A path unit watches ``wake/`` in the state directory and starts ``deployctl.service``. That takes
the file away and lets systemd-run start the worker: it is done at once, so that the next delivery
starts another worker, which finds its own turn, while the first one still builds.

Sources: systemd.path(5), systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.timer(5),
systemd-run(1) of systemd 252.
"""

from __future__ import annotations

from deployctl.manual.own_command import setup_command
from deployctl.manual.setup.installation import Installation
from deployctl.system.wake import wake_dir

_UNITS = "/etc/systemd/system"
# What a worker takes, at most, to end its steps, undo what is half done and record it.
_SECONDS_TO_STOP = 90
SOCKET = "/run/deployctl-cgi.sock"
_TIMERS = {"run": "minutely", "sync": "*:0/10"}


def systemd(here: Installation) -> str:
    """A script for ``sudo sh``: the directory, the units, and what starts them."""
    units = {**_woken(here), **_timed(here), **_webhook(here)}
    watching = ["deployctl.path", *(f"deployctl-{command}.timer" for command in _TIMERS)]
    lines = [
        "#!/bin/sh",
        f"# Lets systemd start deployctl as {here.account}. When you have read it:",
        f"#   {setup_command('systemd', here.config)} | sudo sh",
        *_remarks(here),
        "set -eu",
        f"runuser -u {here.account} -- sh -c 'umask 077; mkdir -p {wake_dir(here.state_dir)}'",
        *(_file(name, text) for name, text in units.items()),
        "systemctl daemon-reload",
        f"systemctl enable {' '.join(watching)}",
        f"systemctl restart {' '.join(watching)}",
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
            f"# NAME=value lines into {here.env_file}, which only root has to read.",
        ]
    if not here.fcgiwrap:
        remarks.append("# fcgiwrap is not installed here, so nothing is set up for nginx.")
    return remarks


def _file(name: str, text: str) -> str:
    return f"cat >{_UNITS}/{name} <<'END'\n{text}END"


def _woken(here: Installation) -> dict[str, str]:
    """The path unit, and what it starts; that may be often, but not for ever."""
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


def _timed(here: Installation) -> dict[str, str]:
    """What cron would do: see to what a crash left, and to webhooks that never came."""
    units = {}
    for command, times in _TIMERS.items():
        units[f"deployctl-{command}.timer"] = (
            "[Unit]\n"
            f"Description=deployctl {command}, again and again\n"
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


def _webhook(here: Installation) -> dict[str, str]:
    """fcgiwrap for this account alone; Debian's own runs as the web server's."""
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
            # A worker that had to be started from here goes on.
            "KillMode=process\n"
        ),
    }


def _worker(here: Installation, command: str) -> str:
    """A service of its own for each worker; as root, who alone may ask systemd for one.

    Only its first process is stopped with it: that ends its steps itself, and a daemon that a
    restart left on purpose has to stay. A step that runs out of memory has failed, as any other.
    What the worker says is worth a line in the journal, that it was started is not.
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
