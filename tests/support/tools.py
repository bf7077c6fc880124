"""The programs that deployers call: real ones with an isolated home, and stand-ins."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deployctl.system.environment import PATH
from tests.support.cli import is_running
from tests.support.paths import ROOT
from tests.support.servers import installed_program, stop, wait_for_start
from tests.support.workers import wait_until

DOWNLOADED = ROOT / ".cache" / "tools"
# Where real programs are looked for, in this order.
PROGRAM_PATHS = (
    f"{sys.prefix}/bin",
    f"{DOWNLOADED}/pm2/node_modules/.bin",
    os.environ["PATH"],
    PATH,
)
STAND_IN = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    json.dump([{name!r}, *sys.argv[1:], os.getcwd()], log)
    log.write("\\n")
{then}
"""
# sudo cleans the PATH of what it starts: a real one would reach this machine's own nginx.
SUDO = "assert sys.argv[1] == '-n'; os.execvp(sys.argv[2], sys.argv[2:])"
SUPERVISORD = """
[unix_http_server]
file={socket}
[supervisorctl]
serverurl=unix://{socket}
[supervisord]
logfile={log}
pidfile={directory}/supervisord.pid
childlogdir={directory}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
NGINX = """
{user}
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    fastcgi_temp_path {directory}/fastcgi;
    proxy_temp_path {directory}/proxy;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        location = /alive {{ return 200; }}
    }}
    include {include};
}}
"""


class Tools:
    """A directory that is first on the PATH of the steps, and a home directory for its programs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "tools"
        self.bin = self.directory / "bin"
        self.bin.mkdir(parents=True)
        self.log = self.directory / "calls"
        self.home = self.directory / "home"
        self.home.mkdir()
        # The path of a Unix socket has at most 107 bytes; that of a test's directory may have more.
        self.sockets = Path(tempfile.mkdtemp(prefix="deployctl-"))
        self.stand_in("sudo", SUDO)

    @property
    def env(self) -> dict[str, str]:
        """The key ``env`` for a repo: programs use only this home, and download nothing."""
        assert DOWNLOADED.is_dir(), f"{DOWNLOADED} is missing: bash tests/run"
        return {
            "HOME": str(self.home),
            "PATH": f"{self.bin}:{PATH}",
            "PM2_HOME": str(self.sockets / "pm2"),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(DOWNLOADED / "blog" / "wheels"),
            "npm_config_cache": str(DOWNLOADED / "npm"),
            "npm_config_offline": "true",
            "npm_config_update_notifier": "false",
        }

    def link(self, *names: str) -> None:
        """Put links to real programs into the directory."""
        for name in names:
            found = shutil.which(name, path=os.pathsep.join(PROGRAM_PATHS))
            assert found, f"{name} is missing: bash tests/run"
            (self.bin / name).symlink_to(found)

    def stand_in(self, name: str, then: str = "") -> None:
        """Put in a program that logs its arguments and then runs the Python code ``then``."""
        self.write(name, STAND_IN.format(python=sys.executable, log=str(self.log), **locals()))

    def write(self, name: str, script: str) -> None:
        """Put an executable script into the directory."""
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)

    def calls(self) -> list[str]:
        """Return the calls of stand-ins since the last call of this method: name and arguments."""
        if not self.log.exists():
            return []
        calls = [json.loads(line) for line in self.log.read_text().splitlines()]
        self.log.unlink()
        return [" ".join(words[:-1]) for words in calls]

    def stop(self) -> None:
        """End pm2's daemon and with it the processes that it runs; remove the sockets."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.sockets / "pm2" / "pm2.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not is_running(pid))
        shutil.rmtree(self.sockets)


class Supervisor:
    """A running supervisord; ``programs`` are sections of its configuration.

    ``supervisorctl`` on the PATH of the steps finds its configuration by itself.
    """

    def __init__(self, tools: Tools, programs: str) -> None:
        self.directory = tools.directory / "supervisor"
        self.directory.mkdir()
        tools.link("supervisorctl")
        self.log = self.directory / "log"
        conf = tools.directory / "etc" / "supervisord.conf"
        conf.parent.mkdir()
        socket = tools.sockets / "supervisor"
        conf.write_text(SUPERVISORD.format(**vars(self), socket=socket) + programs)
        self.process = _start(["supervisord", "-n", "-s", "-c", str(conf)], {"PATH": PATH})
        wait_for_start(socket.exists, self.process)

    def stop(self) -> None:
        stop(self.process)


class Nginx:
    """A running nginx with a master process; ``nginx`` on the PATH of the steps controls it."""

    def __init__(self, tools: Tools, port: int, include: Path) -> None:
        directory = tools.directory / "nginx"
        directory.mkdir()
        conf = directory / "nginx.conf"
        # The test's files belong to root: the workers must run as root to read them.
        user = "user root;" if os.geteuid() == 0 else ""
        conf.write_text(NGINX.format(**locals()))
        options = ["-p", str(directory), "-c", str(conf), "-e", str(directory / "error.log")]
        tools.write(
            "nginx", f'#!/bin/sh\nexec {installed_program("nginx")} {" ".join(options)} "$@"\n'
        )
        self.process = _start(["nginx", *options, "-g", "daemon off;"], {"PATH": PATH})
        wait_for_start((directory / "pid").exists, self.process)

    def stop(self) -> None:
        stop(self.process)


def _start(argv: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    program = shutil.which(argv[0], path=os.pathsep.join(PROGRAM_PATHS))
    assert program, f"{argv[0]} is missing: bash tests/run"
    return subprocess.Popen(
        [program, *argv[1:]],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
