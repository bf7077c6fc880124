"""A small HTTP service to deploy, with a script that restarts it in the background."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from contextlib import suppress
from pathlib import Path

RESTART = """#!/bin/sh
# Stop the old one by its pid, start the new one with &, leave.
if [ -f run/pid ]; then
    kill "$(cat run/pid)" 2>/dev/null
    while kill -0 "$(cat run/pid)" 2>/dev/null; do sleep 0.01; done
fi
python3 server.py "$PORT" &
echo $! > run/pid
"""
SERVER = """
import http.server, sys
VERSION = open("version").read().strip()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = self.path == "/ping" and VERSION.startswith("bad")
        body = (f"{VERSION} is sick" if sick else VERSION).encode()
        self.send_response(500 if sick else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        print("a request", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Service:
    """The service in the files of a repo; ``run`` is its shared directory with the file ``pid``.

    ``/ping`` answers 500 where the version begins with ``bad``; other paths answer the version.
    """

    def __init__(self, run: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.run = run
        self.ping = f"http://127.0.0.1:{self.port}/ping"

    @staticmethod
    def files(version: str) -> dict[str, str | None]:
        """Return the files of the repo for this version, for :meth:`Upstream.commit`."""
        return {"app.sh": RESTART, "server.py": SERVER, "version": f"{version}\n"}

    def answer(self) -> str:
        """Return what the running service answers: its version."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as response:
            return str(response.read().decode())

    def stop(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.run / "pid").read_text()), signal.SIGTERM)
