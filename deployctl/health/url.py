"""Send one GET request of a health check, and decide whether its response is good."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployctl import __version__
from deployctl.health.deadline import DeadlineExceeded, call_within
from deployctl.health.network_errors import (
    explain,
    explain_incomplete,
    no_response,
    one_short_line,
)
from deployctl.system.process import StepOutcome
from deployctl.values.masking import escape_controls
from deployctl.values.repo import HealthCheck

if TYPE_CHECKING:
    import requests

_BODY_BYTES = 64 * 1024  # the most that is read of a response
_TAIL_BYTES = 2 * 1024  # the most that is shown of it
_CHUNK = 8 * 1024
# The characters at the end of a body after the last separator.
# Statuses of a proxy whose program is not up yet, or of a program that is too busy (RFC 9110, 15.6;
# RFC 6585, 4).
_NOT_READY = (429, 502, 503, 504)
_UNIX = "http+unix://"
_LAST_WORD = re.compile(rb"""[^\s"'<>=&;,]*\Z""")


@dataclass(frozen=True)
class Answer:
    """The result of one try; ``message`` is a sentence, or the end of one that the URL begins.

    ``tail`` is the end of a command's output, as :class:`StepOutcome` has it, or the beginning of
    the body of a response. ``outcome`` is that of the command; None if a URL was requested.
    ``is_definite`` tells whether the program itself answered, and wrongly: it is up, so waiting
    will not help. ``timed_out`` tells whether the timeout ended the try.
    """

    ok: bool
    message: str
    tail: str = ""
    outcome: StepOutcome | None = None
    is_definite: bool = False
    timed_out: bool = False


class _Progress:
    """The state of a request while it runs, for the message if it is cut off at the timeout.

    ``has_address`` tells whether the host name has been resolved. ``status`` is None until the
    headers have arrived. ``location`` is the target of a redirect. ``body`` is as much of the body
    as has been read.
    """

    def __init__(self) -> None:
        self.has_address = False
        self.status: int | None = None
        self.location = ""
        self.body = b""


def ask_url(healthcheck: HealthCheck, url: str) -> Answer:
    """Send one GET request and return its result after ``timeout`` seconds at the latest.

    A response that is incomplete by then has failed; the message has its status if that arrived.
    """
    progress = _Progress()
    try:
        answer = call_within(healthcheck.timeout, lambda: _get(healthcheck, url, progress))
    except DeadlineExceeded:
        answer = _timeout_answer(healthcheck, progress)
    except (OSError, ValueError) as error:  # requests raises OSErrors; a bad header is a ValueError
        answer = _error_answer(healthcheck, progress, error)
    return replace(answer, message=f"GET {url} {answer.message}")


def _get(healthcheck: HealthCheck, url: str, progress: _Progress) -> Answer:
    """Send the request without proxy and redirects, so that only the URL's own host can answer."""
    import requests

    is_unix = url.startswith(_UNIX)
    if not is_unix and (address := _link_local_address(url)):
        return Answer(False, f"is not sent: {address} is a link-local address")
    progress.has_address = True
    headers = {
        **({"Host": "localhost"} if is_unix else {}),
        "User-Agent": f"deployctl/{__version__}",
        "Accept-Encoding": "identity",
        **healthcheck.headers,
    }
    with requests.Session() as session:
        session.trust_env = False
        if is_unix:
            from requests_unixsocket.adapters import UnixAdapter

            session.mount(_UNIX, UnixAdapter(timeout=healthcheck.timeout))
        # The timeout for connecting is shorter than the one for the whole request, so that its more
        # precise message is used.
        timeout = (0.9 * healthcheck.timeout, healthcheck.timeout)
        with session.get(
            url, headers=headers, timeout=timeout, allow_redirects=False, stream=True
        ) as response:
            return _answer(healthcheck, response, progress)


def _answer(healthcheck: HealthCheck, response: requests.Response, progress: _Progress) -> Answer:
    progress.status = response.status_code
    if response.is_redirect:
        progress.location = one_short_line(response.headers["Location"])
    answered = f"answered {progress.status}"
    if not _is_expected_status(healthcheck, progress.status):
        # The check has failed already: the body only explains why. It is read byte by byte, so that
        # nothing is lost of a body that arrives slowly.
        with contextlib.suppress(OSError, ValueError):
            _read(response, progress, _TAIL_BYTES + 1, chunk=1)
        return _unexpected_status_answer(healthcheck, progress)
    if healthcheck.contains is None:
        return Answer(True, answered)
    _read(response, progress, _BODY_BYTES, chunk=_CHUNK)
    body = progress.body
    if str(healthcheck.contains).encode() in body:
        return Answer(True, f'{answered} with "{healthcheck.contains}"', _shown_beginning(body))
    where = f" in its first {_BODY_BYTES // 1024} KiB" if len(body) >= _BODY_BYTES else ""
    message = f'{answered} but without "{healthcheck.contains}"{where}'
    return Answer(False, message, _shown_beginning(body), is_definite=True)


def _timeout_answer(healthcheck: HealthCheck, progress: _Progress) -> Answer:
    seconds = healthcheck.timeout
    if progress.status is None:
        no_address = f"found no address of its host within {seconds:g}s"
        message = no_response(seconds) if progress.has_address else no_address
        return Answer(False, message, timed_out=True)
    if not _is_expected_status(healthcheck, progress.status):
        return _unexpected_status_answer(healthcheck, progress)
    message = f"answered {progress.status} but its body did not end within {seconds:g}s"
    return Answer(False, message, _shown_beginning(progress.body), timed_out=True)


def _error_answer(healthcheck: HealthCheck, progress: _Progress, error: Exception) -> Answer:
    if progress.status is None:
        import requests

        is_late = isinstance(error, requests.Timeout)
        return Answer(False, explain(error, healthcheck.timeout), timed_out=is_late)
    message = f"answered {progress.status} but {explain_incomplete(error)}"
    return Answer(False, message, _shown_beginning(progress.body))


def _is_expected_status(healthcheck: HealthCheck, status: int) -> bool:
    return status in healthcheck.status if healthcheck.status else 200 <= status < 300


def _unexpected_status_answer(healthcheck: HealthCheck, progress: _Progress) -> Answer:
    redirect = f" to {progress.location} (not followed)" if progress.location else ""
    expected = " or ".join(str(status) for status in healthcheck.status) or "2xx"
    message = f"answered {progress.status}{redirect}, wanted {expected}"
    is_definite = progress.status not in _NOT_READY
    return Answer(False, message, _shown_beginning(progress.body), is_definite=is_definite)


def _read(response: requests.Response, progress: _Progress, limit: int, *, chunk: int) -> None:
    """Read the body in pieces of ``chunk`` bytes, until its end or at least ``limit`` bytes."""
    for data in response.iter_content(chunk):
        progress.body += data
        if len(progress.body) >= limit:
            return


def _shown_beginning(body: bytes) -> str:
    """Return the first 2 KiB of a body as text, without a last word that was cut.

    Half of a secret could be in that word, and would not be masked.
    """
    shown = body[:_TAIL_BYTES]
    if len(body) > len(shown) and (word := _LAST_WORD.search(shown)):
        shown = shown[: word.start()] or shown
    text = shown.decode(errors="backslashreplace").replace("\r\n", "\n")
    return escape_controls(text)


def _link_local_address(url: str) -> str | None:
    """Return the link-local address that the host of a url resolves to; None if it has none.

    Such addresses (169.254/16, fe80::/10; RFC 3927, RFC 4291) are not requested, because cloud
    providers serve credentials there.
    """
    for *_, address in socket.getaddrinfo(urlsplit(url).hostname, None):
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_link_local:
            return str(ip)
    return None
