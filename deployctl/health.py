"""Is what is live well? Ask until it is or the time is up, then once more."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from deployctl import __version__
from deployctl.masking import escape_controls
from deployctl.process import Outcome
from deployctl.repo import Command, HealthCheck
from deployctl.times import duration

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

_BODY_BYTES = 64 * 1024  # what is read of an answer
_TAIL_BYTES = 2 * 1024  # what is shown of it
_CAUSE_CHARS = 200
_LAST_WORD = re.compile(rb"""[^\s"'<>=&;,]*\Z""")


@dataclass(frozen=True)
class HealthResult:
    """The verdict over ``attempts`` tries, and the last try's evidence.

    ``tail`` is the end of a command's output, as :class:`Outcome` has it, or the beginning of an
    answer's body. The fields after it are None or False unless a command was asked.
    """

    ok: bool
    message: str
    attempts: int
    tail: str = ""
    exit_code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    command: Command | None = None


@dataclass(frozen=True)
class _Answer:
    """What one try brought; ``outcome`` is that of a command."""

    ok: bool
    message: str
    tail: str = ""
    outcome: Outcome | None = None


def check(
    healthcheck: HealthCheck,
    *,
    run_command: Callable[[Command, float], Outcome],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> HealthResult:
    """Ask every ``interval`` seconds until the answers stay good for ``stable_for`` seconds.

    The last try starts at the ``deadline`` at the latest, so it ends one ``timeout`` after that at
    the latest. ``run_command`` runs a command in the live directory for so many seconds.
    """
    begun = clock()
    good_since: float | None = None
    attempts = 0
    while True:
        answer = _ask(healthcheck, run_command)
        attempts += 1
        now = clock()
        if not answer.ok:
            good_since = None
        elif good_since is None:
            good_since = now
        well = good_since is not None and now - good_since >= healthcheck.stable_for
        left = begun + healthcheck.deadline - now
        if well or left <= 0:
            return _result(healthcheck, answer, well, attempts, now - begun)
        sleep(min(healthcheck.interval, left))


def _result(
    healthcheck: HealthCheck, answer: _Answer, well: bool, attempts: int, seconds: float
) -> HealthResult:
    message = answer.message
    if answer.ok and not well:
        message += f", but not yet for {healthcheck.stable_for:g}s"
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    outcome = answer.outcome
    return HealthResult(
        ok=well,
        message=f"{message} ({tries} in {duration(seconds)})",
        attempts=attempts,
        tail=answer.tail,
        exit_code=outcome.exit_code if outcome else None,
        signal=outcome.signal if outcome else None,
        timed_out=outcome.timed_out if outcome else False,
        command=healthcheck.command,
    )


def _ask(healthcheck: HealthCheck, run_command: Callable[[Command, float], Outcome]) -> _Answer:
    if healthcheck.command is not None:
        return _ask_command(run_command(healthcheck.command, healthcheck.timeout))
    return _ask_url(healthcheck, str(healthcheck.url))


def _ask_command(outcome: Outcome) -> _Answer:
    how = "succeeded" if outcome.ok else f"failed: {outcome.describe()}"
    return _Answer(outcome.ok, f"the command {how}", outcome.tail, outcome)


def _ask_url(healthcheck: HealthCheck, url: str) -> _Answer:
    try:
        answer = _within(healthcheck.timeout, lambda: _get(healthcheck, url))
    except futures.TimeoutError:
        answer = _Answer(False, _late(healthcheck.timeout))
    except (OSError, ValueError) as error:  # requests' own are OSErrors; ValueError: a bad header
        answer = _Answer(False, _explain(error, healthcheck.timeout))
    return replace(answer, message=f"GET {url} {answer.message}")


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The call's result, or :class:`futures.TimeoutError` after so many seconds in all.

    The timeouts of sockets are for one operation each, so a server that trickles could hold us
    for ever, and name resolution has none. A thread left behind owns nothing but its socket and,
    as a daemon, does not outlive the process.
    """
    future: futures.Future[T] = futures.Future()

    def work() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result(seconds)


def _get(healthcheck: HealthCheck, url: str) -> _Answer:
    """One GET, to no proxy and following no redirect: whoever answers is the one that was asked."""
    import requests

    if address := _link_local_address(url):
        return _Answer(False, f"is not sent: {address} is a link-local address")
    headers = {
        "User-Agent": f"deployctl/{__version__}",
        "Accept-Encoding": "identity",
        **healthcheck.headers,
    }
    with requests.Session() as session:
        session.trust_env = False
        timeout = healthcheck.timeout
        with session.get(
            url, headers=headers, timeout=timeout, allow_redirects=False, stream=True
        ) as response:
            return _judge(healthcheck, response)


def _judge(healthcheck: HealthCheck, response: requests.Response) -> _Answer:
    status = response.status_code
    answered = f"answered {status}"
    good = status in healthcheck.status if healthcheck.status else 200 <= status < 300
    if good and healthcheck.contains is None:
        return _Answer(True, answered)
    body = _body(response)
    tail = escape_controls(_beginning(body).decode(errors="backslashreplace"))
    if not good:
        return _Answer(
            False, f"{answered}{_whither(response)}, wanted {_wanted(healthcheck)}", tail
        )
    if str(healthcheck.contains).encode() in body:
        return _Answer(True, f'{answered} with "{healthcheck.contains}"', tail)
    where = f" in its first {_BODY_BYTES // 1024} KiB" if len(body) == _BODY_BYTES else ""
    return _Answer(False, f'{answered} but without "{healthcheck.contains}"{where}', tail)


def _beginning(body: bytes) -> bytes:
    """What is shown of it; a last word that was cut is left out, for it may be half a secret."""
    if len(body) <= _TAIL_BYTES:
        return body
    shown = body[:_TAIL_BYTES]
    word = _LAST_WORD.search(shown)
    return (shown[: word.start()] if word else b"") or shown


def _wanted(healthcheck: HealthCheck) -> str:
    return " or ".join(str(status) for status in healthcheck.status) or "2xx"


def _whither(response: requests.Response) -> str:
    target = response.headers.get("Location") if response.is_redirect else None
    return f" to {escape_controls(target)[:_CAUSE_CHARS]}" if target else ""


def _body(response: requests.Response) -> bytes:
    body = b""
    for chunk in response.iter_content(8192):
        body += chunk
        if len(body) >= _BODY_BYTES:
            break
    return body[:_BODY_BYTES]


def _link_local_address(url: str) -> str | None:
    """Where clouds hand out their credentials: 169.254/16, fe80::/10 (RFC 3927, RFC 4291)."""
    for *_, address in socket.getaddrinfo(urlsplit(url).hostname, None):
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_link_local:
            return str(ip)
    return None


def _explain(error: Exception, timeout: float) -> str:
    """What happened, in the words of a person; the innermost cause knows best."""
    cause = _root(error)
    if isinstance(cause, ConnectionRefusedError):
        return "refused the connection"
    if isinstance(cause, TimeoutError):
        return _late(timeout)
    if isinstance(cause, ssl.SSLError):
        return f"failed in TLS: {getattr(cause, 'verify_message', None) or cause.reason or cause}"
    if isinstance(cause, ConnectionError):
        return "closed the connection without an answer"
    if isinstance(cause, OSError) and cause.strerror:
        return f"cannot be reached: {cause.strerror}"
    return f"got no proper answer: {escape_controls(str(cause))[:_CAUSE_CHARS]}"


def _root(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _late(timeout: float) -> str:
    return f"did not answer within {timeout:g}s"
