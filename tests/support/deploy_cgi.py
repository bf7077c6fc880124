"""Run deploy.cgi for one delivery, as a web server does (CGI)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.cli import Cli
from tests.support.deliveries import headers, push
from tests.support.paths import ROOT


@dataclass(frozen=True)
class CgiResponse:
    """The HTTP status and the JSON object of a response of deploy.cgi."""

    status: int
    document: Mapping[str, Any]


def deliver(
    cli: Cli, body: bytes | None = None, *, umask: int = 0o022, **about: Any
) -> CgiResponse:
    """Run deploy.cgi with a push of GitHub, or with this body, and return its response.

    ``about`` are arguments for :func:`tests.support.deliveries.headers`.
    """
    body = json.dumps(push()).encode() if body is None else body
    variables = {"REQUEST_METHOD": "POST", "GATEWAY_INTERFACE": "CGI/1.1", "PATH_INFO": ""}
    for name, value in headers(body, **about).items():
        prefix = "" if name.startswith("content-") else "HTTP_"
        variables[prefix + name.upper().replace("-", "_")] = value
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy.cgi")],
        check=True,
        input=body,
        capture_output=True,
        cwd=cli.directory,
        env={**cli.env, **variables, "DEPLOYCTL_CONFIG": str(cli.config)},
        umask=umask,
        timeout=60,
    )
    head, _, document = done.stdout.partition(b"\r\n\r\n")
    (status,) = (line for line in head.splitlines() if line.startswith(b"Status: "))
    return CgiResponse(int(status.split()[1]), json.loads(document))
