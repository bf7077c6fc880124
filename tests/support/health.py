"""Servers for health checks to ask, and the questions."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deployctl.health.check import HealthResult, check
from deployctl.system.command import Command
from deployctl.system.process import StepOutcome
from deployctl.values.repo import HealthCheck


class Page:
    """The responses of a test server, and the requests that it has received.

    ``answers`` are pairs of status and body; the last one is repeated for all further requests.
    """

    def __init__(self, *answers: tuple[int, bytes], headers: dict[str, str] | None = None) -> None:
        self.answers = list(answers)
        self.headers = headers or {}
        self.requests: list[dict[str, str]] = []

    def next(self) -> tuple[int, bytes]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serve(page: Page) -> Iterator[str]:
    """Run an HTTP server with these responses; yield a url of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page.requests.append({**dict(self.headers.items()), "path": self.path})
            status, body = page.next()
            self.send_response(status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/ping"
        server.shutdown()
        thread.join()


def no_command(command: Command, timeout: float) -> StepOutcome:
    raise AssertionError("unexpected command")


def check_url(healthcheck: HealthCheck, *, restarted: bool = False) -> HealthResult:
    return check(healthcheck, restarted=restarted, run_command=no_command)


def single_try(url: str) -> HealthCheck:
    """Return a check that makes one try, because its deadline has passed after that."""
    return HealthCheck(url=url, timeout=2.0, deadline=0.0)


def message_of(result: HealthResult, url: str) -> str:
    """Return the message with its url and duration replaced by URL and TIME."""
    return re.sub(r"in \S+\)$", "in TIME)", result.message.replace(url, "URL"))
