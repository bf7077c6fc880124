"""Start nginx and fcgiwrap, which runs a CGI program: the usual way to run deploy.cgi."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.paths import DEPLOY_CGI
from tests.support.servers import (
    Response,
    free_port,
    installed_program,
    send_request,
    stop,
    wait_for_start,
)

NGINX_CONF = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    fastcgi_temp_path {directory}/fastcgi;
    proxy_temp_path {directory}/proxy;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    client_max_body_size 25m;
    {http}
    server {{
        listen 127.0.0.1:{port};
        location = /alive {{ return 200 "{token}"; }}
        {locations}
        location /deploy.cgi {{
            {directives}
            fastcgi_split_path_info ^(/deploy\\.cgi)(.*)$;
            fastcgi_param SCRIPT_FILENAME {script};
            fastcgi_param PATH_INFO $fastcgi_path_info;
            fastcgi_param DEPLOYCTL_CONFIG {config};
            fastcgi_param GATEWAY_INTERFACE CGI/1.1;
            fastcgi_param SERVER_PROTOCOL $server_protocol;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param REMOTE_ADDR $remote_addr;
            fastcgi_pass unix:{sockets}/fcgi;
        }}
    }}
}}
"""


class WebServer:
    """A running nginx and a running fcgiwrap.

    ``script`` is the CGI program (None: deploy.cgi), ``directives`` are added to its location.
    ``locations`` are further locations; ``{sockets}/fcgi`` in them is the socket of fcgiwrap.
    ``http`` is added to nginx's block ``http``: upstreams and servers.
    """

    def __init__(
        self,
        directory: Path,
        config: Path,
        *,
        script: Path | None = None,
        directives: str = "",
        locations: str = "",
        http: str = "",
    ) -> None:
        self.directory = directory
        self.config = config
        self.directives = directives
        self.http = http
        self.script = script or _write_deploy_cgi(directory)
        # The path of a Unix socket has at most 107 bytes; that of a test's directory may have more.
        self.sockets = tempfile.mkdtemp(prefix="deployctl-")
        self.locations = locations.replace("{sockets}", self.sockets)
        self.fcgiwrap = self._start_fcgiwrap()
        self.nginx = self._start_nginx()

    def request(
        self,
        method: str,
        path: str = "/deploy.cgi",
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send one request and return the response; a body that is no ``bytes`` is sent chunked."""
        return send_request(("127.0.0.1", self.port), method, path, body, headers)

    def stop(self) -> None:
        for process in (self.nginx, self.fcgiwrap):
            stop(process)
        shutil.rmtree(self.sockets)

    def _start_fcgiwrap(self) -> subprocess.Popen[bytes]:
        with open(self.directory / "fcgiwrap.log", "wb") as log:
            process = subprocess.Popen(
                [installed_program("fcgiwrap"), "-f", "-c", "4", "-s", f"unix:{self.sockets}/fcgi"],
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for_start(lambda: os.path.exists(f"{self.sockets}/fcgi"), process)
        return process

    def _start_nginx(self) -> subprocess.Popen[bytes]:
        """Start nginx on a free port; try another port where a program took it before nginx."""
        for _ in range(5):
            self.port = free_port()
            self.token = secrets.token_hex(8)
            process = self._run_nginx()
            with contextlib.suppress(ChildProcessError):
                wait_for_start(self._is_alive, process)
                return process
        raise AssertionError((self.directory / "error.log").read_text())

    def _run_nginx(self) -> subprocess.Popen[bytes]:
        conf = self.directory / "nginx.conf"
        conf.write_text(NGINX_CONF.format(**vars(self)))
        log = str(self.directory / "error.log")
        return subprocess.Popen(
            [installed_program("nginx"), "-p", str(self.directory), "-c", str(conf), "-e", log],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _is_alive(self) -> bool:
        try:
            return self.request("GET", "/alive").body == self.token.encode()
        except OSError:
            return False


def _write_deploy_cgi(directory: Path) -> Path:
    """Write a script that runs deploy.cgi with the interpreter of the tests; return its path."""
    script = directory / "deploy.cgi"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{DEPLOY_CGI}"\n')
    script.chmod(0o755)
    return script
