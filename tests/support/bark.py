"""A stand-in for a Bark push server: https://github.com/Finb/bark-server, POST /push only."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deployctl.values.repo import Channel
from deployctl.values.secret import Secret

KEY = "aKeyOfTheDevice1"


class Bark(http.server.ThreadingHTTPServer):
    """A Bark server on loopback that keeps the messages that it receives.

    ``behaviours`` are names of methods of ``_Push``: one for each request, in this order; the last
    one is used for all further requests.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, behaviours: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Push)
        self.behaviours = list(behaviours)
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.asked = threading.Event()  # set by the first request
        self.stopping = threading.Event()

    @property
    def titles(self) -> list[str]:
        return [post["title"] for _, post in self.posts]

    def url(self, extra: str = "") -> str:
        return f"bark://127.0.0.1:{self.server_port}/{KEY}{extra}"

    def channel(self, name: str = "phone", timeout: float = 20.0, extra: str = "") -> Channel:
        return Channel(name, Secret(self.url(extra)), timeout)


@contextmanager
def bark(*behaviours: str) -> Iterator[Bark]:
    """Run a Bark server until the block is left.

    ``behaviours``: well (also if none is named), error, redirect, late, hang, trickle.
    """
    with Bark(behaviours or ("well",)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()


class _Push(http.server.BaseHTTPRequestHandler):
    server: Bark

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        behaviours = self.server.behaviours
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        self.server.posts.append((self.path, json.loads(body)))
        self.server.headers.append(dict(self.headers))
        self.server.asked.set()
        getattr(self, behaviour)()

    def well(self) -> None:
        self._answer(200, {"code": 200, "message": "success"})

    def error(self) -> None:
        self._answer(500, {"code": 500, "message": f"no token for {KEY}\x1b[2J"})

    def redirect(self) -> None:
        self.send_response(307)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def late(self) -> None:
        self.server.stopping.wait(4.3)
        self.well()

    def hang(self) -> None:
        self.server.stopping.wait(60)

    def trickle(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        while not self.server.stopping.wait(0.1):
            self.wfile.write(b" ")
            self.wfile.flush()

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass
