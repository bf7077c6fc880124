"""A web server that is not well and says why, as a health check meets it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def unwell(
    say: Callable[[http.server.BaseHTTPRequestHandler], str],
    headers: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Answers 500 to whatever is asked, with what ``say`` makes of the request -> its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(say(self).encode())

        def log_message(self, *_: object) -> None:
            """Not on the tests' stderr."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
