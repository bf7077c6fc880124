"""nginx in front of fcgiwrap in front of a CGI program, as people run deploy.cgi."""

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
from tests.support.servers import Response, exchange, free_port, installed, stop, wait

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
    """Both servers, started; ``script`` is the CGI program, ``directives`` go to its location.

    ``locations`` are more of those; ``{sockets}/fcgi`` in them is the socket of fcgiwrap.
    ``http`` is what else there is to serve: upstreams and servers.
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
        self.script = script or _front(directory)
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
        """One request over a connection of its own; an iterable body is sent chunked."""
        return exchange(("127.0.0.1", self.port), method, path, body, headers)

    def stop(self) -> None:
        for process in (self.nginx, self.fcgiwrap):
            stop(process)
        shutil.rmtree(self.sockets)

    def _start_fcgiwrap(self) -> subprocess.Popen[bytes]:
        with open(self.directory / "fcgiwrap.log", "wb") as log:
            process = subprocess.Popen(
                [installed("fcgiwrap"), "-f", "-c", "4", "-s", f"unix:{self.sockets}/fcgi"],
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait(lambda: os.path.exists(f"{self.sockets}/fcgi"), process)
        return process

    def _start_nginx(self) -> subprocess.Popen[bytes]:
        """Another program may take the free port before nginx does: then on another one."""
        for _ in range(5):
            self.port = free_port()
            self.token = secrets.token_hex(8)
            process = self._run_nginx()
            with contextlib.suppress(ChildProcessError):
                wait(self._is_alive, process)
                return process
        raise AssertionError((self.directory / "error.log").read_text())

    def _run_nginx(self) -> subprocess.Popen[bytes]:
        conf = self.directory / "nginx.conf"
        conf.write_text(NGINX_CONF.format(**vars(self)))
        log = str(self.directory / "error.log")
        return subprocess.Popen(
            [installed("nginx"), "-p", str(self.directory), "-c", str(conf), "-e", log],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _is_alive(self) -> bool:
        try:
            return self.request("GET", "/alive").body == self.token.encode()
        except OSError:
            return False


def _front(directory: Path) -> Path:
    """deploy.cgi as an installation leaves it: run by the interpreter of this environment."""
    script = directory / "deploy.cgi"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{DEPLOY_CGI}"\n')
    script.chmod(0o755)
    return script
