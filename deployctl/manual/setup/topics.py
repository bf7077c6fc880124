"""The topics of ``deployctl setup``: configuration for each program that can start deployctl."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from deployctl.errors import ConfigError, UsageError
from deployctl.manual.setup.installation import Installation, installation
from deployctl.manual.setup.systemd import SOCKET, systemd
from deployctl.values.repo import Config

# inetd and xinetd listen on loopback only: a web server in front of them does TLS.
_ADDRESS, _PORT = "127.0.0.1", 8008


def text(topic: str, config: Config) -> str:
    """Return the configuration for one program.

    UsageError, with a similar name, if there is no such topic; ForeignError if the state directory
    belongs to another account.
    """
    if topic not in _TOPICS:
        close = difflib.get_close_matches(topic, _TOPICS, 1)
        guess = f", did you mean {close[0]}?" if close else ""
        raise UsageError(f"no setup for {topic}{guess} (there are: {', '.join(_TOPICS)})")
    _, write = _TOPICS[topic]
    return write(installation(config))


def topics() -> dict[str, str]:
    """Return for each topic where its configuration goes."""
    return {name: use for name, (use, _) in _TOPICS.items()}


def cron(here: Installation) -> str:
    """Return a file for /etc/cron.d; ``@reboot`` is described in crontab(5)."""
    account, call = here.account, " ".join(here.call)
    remark = (
        f"# repos.yml takes {', '.join(here.env_names)} from the environment: write NAME=value\n"
        "# lines here, above the others, and let only root read this file.\n"
        if here.env_names
        else ""
    )
    return (
        f"{remark}"
        f"* * * * * {account} {call} run --quiet\n"
        f"@reboot {account} {call} run --quiet\n"
        f"*/10 * * * * {account} {call} sync --quiet\n"
    )


def nginx(here: Installation) -> str:
    """Return a location for a ``server`` block; it uses the socket of ``setup systemd``."""
    return (
        "location /deploy.cgi {\n"
        "    include fastcgi_params;\n"
        "    client_max_body_size 1m;\n"
        r"    fastcgi_split_path_info ^(/deploy\.cgi)(/.*)?$;"
        "\n"
        "    fastcgi_param PATH_INFO $fastcgi_path_info;\n"
        f"    fastcgi_param SCRIPT_FILENAME {here.cgi};\n"
        '    fastcgi_param HTTP_PROXY "";\n'
        f"    fastcgi_pass unix:{SOCKET};\n"
        "}\n"
    )


def inetd(here: Installation) -> str:
    """Return one line for inetd.conf(5), which has no quotes."""
    _refuse_variables(here)
    return (
        f"{_ADDRESS}:{_PORT} stream tcp nowait {here.account} "
        f"/usr/bin/env env DEPLOYCTL_CONFIG={here.config} {here.cgi}\n"
    )


def xinetd(here: Installation) -> str:
    """Return a service for xinetd.conf(5)."""
    _refuse_variables(here)
    values = {
        "type": "UNLISTED",
        "bind": _ADDRESS,
        "port": _PORT,
        "socket_type": "stream",
        "protocol": "tcp",
        "wait": "no",
        "user": here.account,
        "env": f"DEPLOYCTL_CONFIG={here.config}",
        "server": here.cgi,
    }
    lines = (f"    {name:<11} = {value}\n" for name, value in values.items())
    return f"service deployctl\n{{\n{''.join(lines)}}}\n"


def _refuse_variables(here: Installation) -> None:
    """Raise ConfigError if a secret is in the environment: inetd passes none on."""
    if here.env_names:
        raise ConfigError(
            f"{here.config} takes {', '.join(here.env_names)} from the environment, and what inetd "
            "starts has none: keep these secrets in files (file:PATH)"
        )


_TOPICS: dict[str, tuple[str, Callable[[Installation], str]]] = {
    "systemd": ("read it, then pipe it into: sudo sh", systemd),
    "cron": ("for /etc/cron.d/deployctl", cron),
    "nginx": ("for /etc/nginx/snippets/deployctl.conf, included in a server block", nginx),
    "inetd": ("a line for /etc/inetd.conf", inetd),
    "xinetd": ("for /etc/xinetd.d/deployctl", xinetd),
}
