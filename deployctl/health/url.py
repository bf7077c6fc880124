"""One GET of a health check, and the verdict over its answer."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployctl import __version__
from deployctl.health.bounded import Late, within
from deployctl.health.network_errors import explain, explain_broken_off, in_short, late
from deployctl.system.process import Outcome
from deployctl.values.masking import escape_controls
from deployctl.values.repo import HealthCheck

if TYPE_CHECKING:
    import requests

_BODY_BYTES = 64 * 1024  # what is read of an answer
_TAIL_BYTES = 2 * 1024  # what is shown of it
_CHUNK = 8 * 1024
_LAST_WORD = re.compile(rb"""[^\s"'<>=&;,]*\Z""")


@dataclass(frozen=True)
class Answer:
    """The result of one try; ``message`` continues a sentence that begins with the URL or command.

    ``tail`` is the end of a command's output, as :class:`Outcome` has it, or the beginning of an
    answer's body. ``outcome`` is that of a command; None for a URL.
    """

    ok: bool
    message: str
    tail: str = ""
    outcome: Outcome | None = None


class _Progress:
    """How far a try has come: what is known of it where it ends early."""

    def __init__(self) -> None:
        self.has_address = False
        self.status: int | None = None
        self.location = ""
        self.body = b""


def ask_url(healthcheck: HealthCheck, url: str) -> Answer:
    """Ask once, for ``timeout`` seconds at most; what comes before then counts."""
    progress = _Progress()
    try:
        answer = within(healthcheck.timeout, lambda: _get(healthcheck, url, progress))
    except Late:
        answer = _late(healthcheck, progress)
    except (OSError, ValueError) as error:  # requests' own are OSErrors; ValueError: a bad header
        answer = _broken(healthcheck, progress, error)
    return replace(answer, message=f"GET {url} {answer.message}")


def _get(healthcheck: HealthCheck, url: str, progress: _Progress) -> Answer:
    """One GET, to no proxy and following no redirect: whoever answers is the one that was asked."""
    import requests

    if address := _link_local_address(url):
        return Answer(False, f"is not sent: {address} is a link-local address")
    progress.has_address = True
    headers = {
        "User-Agent": f"deployctl/{__version__}",
        "Accept-Encoding": "identity",
        **healthcheck.headers,
    }
    with requests.Session() as session:
        session.trust_env = False
        # A connection that does not come about is told before the time for all of it is over.
        timeout = (0.9 * healthcheck.timeout, healthcheck.timeout)
        with session.get(
            url, headers=headers, timeout=timeout, allow_redirects=False, stream=True
        ) as response:
            return _judge(healthcheck, response, progress)


def _judge(healthcheck: HealthCheck, response: requests.Response, progress: _Progress) -> Answer:
    progress.status = response.status_code
    if response.is_redirect:
        progress.location = in_short(response.headers["Location"])
    answered = f"answered {progress.status}"
    if not _is_wanted(healthcheck, progress.status):
        # The status is the verdict; what comes of the body, byte by byte, is there to explain it.
        with contextlib.suppress(OSError, ValueError):
            _read(response, progress, _TAIL_BYTES + 1, chunk=1)
        return _unwanted(healthcheck, progress)
    if healthcheck.contains is None:
        return Answer(True, answered)
    _read(response, progress, _BODY_BYTES, chunk=_CHUNK)
    body = progress.body
    if str(healthcheck.contains).encode() in body:
        return Answer(True, f'{answered} with "{healthcheck.contains}"', _beginning(body))
    where = f" in its first {_BODY_BYTES // 1024} KiB" if len(body) >= _BODY_BYTES else ""
    return Answer(
        False, f'{answered} but without "{healthcheck.contains}"{where}', _beginning(body)
    )


def _late(healthcheck: HealthCheck, progress: _Progress) -> Answer:
    seconds = healthcheck.timeout
    if progress.status is None:
        asked_in_vain = f"found no address of its host within {seconds:g}s"
        return Answer(False, late(seconds) if progress.has_address else asked_in_vain)
    if not _is_wanted(healthcheck, progress.status):
        return _unwanted(healthcheck, progress)
    what = f"answered {progress.status} but its body did not end within {seconds:g}s"
    return Answer(False, what, _beginning(progress.body))


def _broken(healthcheck: HealthCheck, progress: _Progress, error: Exception) -> Answer:
    if progress.status is None:
        return Answer(False, explain(error, healthcheck.timeout))
    what = f"answered {progress.status} but {explain_broken_off(error)}"
    return Answer(False, what, _beginning(progress.body))


def _is_wanted(healthcheck: HealthCheck, status: int) -> bool:
    return status in healthcheck.status if healthcheck.status else 200 <= status < 300


def _unwanted(healthcheck: HealthCheck, progress: _Progress) -> Answer:
    whither = f" to {progress.location} (not followed)" if progress.location else ""
    wanted = " or ".join(str(status) for status in healthcheck.status) or "2xx"
    what = f"answered {progress.status}{whither}, wanted {wanted}"
    return Answer(False, what, _beginning(progress.body))


def _read(response: requests.Response, progress: _Progress, most: int, *, chunk: int) -> None:
    for piece in response.iter_content(chunk):
        progress.body += piece
        if len(progress.body) >= most:
            return


def _beginning(body: bytes) -> str:
    """What is shown of it; a last word that was cut is left out, for it may be half a secret."""
    shown = body[:_TAIL_BYTES]
    if len(body) > len(shown) and (word := _LAST_WORD.search(shown)):
        shown = shown[: word.start()] or shown
    text = shown.decode(errors="backslashreplace").replace("\r\n", "\n")
    return escape_controls(text)


def _link_local_address(url: str) -> str | None:
    """Where clouds hand out their credentials: 169.254/16, fe80::/10 (RFC 3927, RFC 4291)."""
    for *_, address in socket.getaddrinfo(urlsplit(url).hostname, None):
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_link_local:
            return str(ip)
    return None
