"""Servers other than nginx that run deploy.cgi, configured as the README or ``setup`` says."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

from deployctl.config.load import load
from deployctl.manual.setup.installation import Installation, installation
from deployctl.manual.setup.topics import inetd, xinetd
from tests.support.readme import snippet
from tests.support.servers import (
    Response,
    free_port,
    installed_program,
    send_request,
    stop,
    wait_for_start,
)
from tests.support.workers import StubWorker

APACHE = """
ServerRoot {directory}
ServerName localhost
Listen {address}
PidFile {directory}/pid
ErrorLog {directory}/error.log
DefaultRuntimeDir {sockets}
LoadModule mpm_{mpm}_module {modules}/mod_mpm_{mpm}.so
LoadModule {cgi}_module {modules}/mod_{cgi}.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule env_module {modules}/mod_env.so
"""
LIGHTTPD = """
server.document-root = "{directory}"
server.bind = "{ip}"
server.port = {port}
server.errorlog = "{directory}/error.log"
"""


class CgiHost(ABC):
    """A running server that starts deploy.cgi for each request.

    It listens on a random address of 127.0.0.0/8, so that no other program has its port. ``worker``
    is the worker that deploy.cgi starts; ``log`` returns what the server wrote to its logs.
    """

    path = "/deploy.cgi"
    takes_chunks = True

    def __init__(self, directory: Path, config: Path, worker: StubWorker) -> None:
        self.directory = directory
        self.config = str(config)
        self.scripts = directory / "scripts"
        self.scripts.mkdir()
        worker.write_deploy_cgi(self.scripts)
        self.ip = "127." + ".".join(str(secrets.randbelow(254) + 1) for _ in range(3))
        self.port = free_port(self.ip)
        self.address = f"{self.ip}:{self.port}"
        # The path of a Unix socket has at most 107 bytes; that of a test's directory may have more.
        self.sockets = tempfile.mkdtemp(prefix="deployctl-")
        self.process = self._start()

    def request(
        self,
        method: str,
        path: str = "",
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send one request and return the response.

        ``path`` is what follows the script's name. A body that is no ``bytes`` is sent chunked.
        """
        return send_request((self.ip, self.port), method, self.path + path, body, headers)

    def log(self) -> str:
        return "".join(path.read_text() for path in self.directory.glob("*.log"))

    def stop(self) -> None:
        stop(self.process)
        shutil.rmtree(self.sockets)

    @abstractmethod
    def command(self) -> list[str]:
        """Write the server's configuration; return the command that runs it in the foreground."""

    @property
    def replacements(self) -> dict[str, str]:
        """Paths that the README shows -> the paths that this test has in their place."""
        return {
            "/opt/deployctl/bin": str(self.scripts),
            "/etc/deployctl/repos.yml": self.config,
        }

    def write(self, text: str) -> str:
        """Write the server's configuration file and return its path."""
        path = self.directory / "conf"
        path.write_text(text)
        return str(path)

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self.directory / "output.log", "wb") as log:
            process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for_start(self._is_alive, process)
        except ChildProcessError as error:
            shutil.rmtree(self.sockets)
            raise AssertionError(self.log()) from error
        return process

    def _is_alive(self) -> bool:
        try:
            return self.request("GET").status == 405
        except OSError:
            return False


class Apache(CgiHost):
    mpm: str
    cgi: str

    def command(self) -> list[str]:
        base = APACHE.format(
            modules="/usr/lib/apache2/modules", mpm=self.mpm, cgi=self.cgi, **vars(self)
        )
        conf = self.write(base + snippet("apache", self.replacements))
        return [*_not_as_root(), installed_program("apache2"), "-f", conf, "-D", "FOREGROUND"]


class ApacheEvent(Apache):
    mpm, cgi = "event", "cgid"


class ApachePrefork(Apache):
    mpm, cgi = "prefork", "cgi"


class Lighttpd(CgiHost):
    def command(self) -> list[str]:
        conf = self.write(LIGHTTPD.format(**vars(self)) + snippet("lighttpd", self.replacements))
        return [installed_program("lighttpd"), "-D", "-f", conf]


class Busybox(CgiHost):
    path = "/cgi-bin/deploy.cgi"
    takes_chunks = False

    def command(self) -> list[str]:
        own = {"/srv/hooks": str(self.directory), "127.0.0.1:8008": self.address}
        return ["/bin/sh", "-euc", snippet("busybox", {**self.replacements, **own})]


class OpenbsdInetd(CgiHost):
    def command(self) -> list[str]:
        line = inetd(_installation(self)).replace("127.0.0.1:8008", self.address)
        return [installed_program("inetd"), "-i", self.write(line)]


class Xinetd(CgiHost):
    def command(self) -> list[str]:
        service = xinetd(_installation(self)).replace("127.0.0.1", self.ip)
        conf = self.write(service.replace("8008", str(self.port)))
        log, pid = self.directory / "xinetd.log", self.directory / "pid"
        options = ["-dontfork", "-f", conf, "-filelog", str(log), "-pidfile", str(pid)]
        return [installed_program("xinetd"), *options]


class SystemdSocket(CgiHost):
    """systemd-socket-activate(1) with the settings of the units in the README.

    It stands in for systemd's process 1, which the tests do not have.
    """

    def command(self) -> list[str]:
        socket = _settings(snippet("systemd.socket", {"127.0.0.1:8008": self.address}))
        service = _settings(snippet("systemd.service", self.replacements))
        assert socket["Accept"] == "yes"
        assert service["StandardInput"] == service["StandardOutput"] == "socket"
        options = ["--accept", "--inetd", "--listen", socket["ListenStream"]]
        program = installed_program("systemd-socket-activate")
        return [program, *options, "--setenv", service["Environment"], service["ExecStart"]]


CGI_HOSTS = (ApacheEvent, ApachePrefork, Lighttpd, Busybox, OpenbsdInetd, Xinetd, SystemdSocket)


def _settings(unit: str) -> dict[str, str]:
    """Return the settings of a systemd unit by their names."""
    lines = [line.partition("=") for line in unit.splitlines() if not line.startswith("#")]
    return {name: value for name, is_setting, value in lines if is_setting}


def _installation(host: CgiHost) -> Installation:
    """Return what ``deployctl setup`` knows, with the deploy.cgi that starts the stub worker."""
    here = installation(load(host.config))
    return dataclasses.replace(here, cgi=str(host.scripts / "deploy.cgi"))


def _not_as_root() -> list[str]:
    """Return words that start Apache as another account than root, where the tests run as root.

    Apache refuses to run programs as root. The other account may read tmp_path by a capability.
    """
    if os.geteuid() != 0:
        return []
    account = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    return ["setpriv", *account, "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
