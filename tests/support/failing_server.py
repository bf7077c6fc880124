"""A web server that answers 500 to every health check."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def failing_server(
    explain: Callable[[http.server.BaseHTTPRequestHandler], str],
    headers: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run a server on loopback that answers 500 to every GET; yield its port.

    ``explain`` makes the body from the request; ``headers`` are added to the response.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(explain(self).encode())

        def log_message(self, *_: object) -> None:
            """Write no request to the stderr of the tests."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
