"""Describe errors of HTTP requests in plain words, as parts of a health check's message."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from typing import Any

from deployctl.values.masking import escape_controls

_CAUSE_CHARS = 200
# The first two bytes of a TLS record (RFC 8446, 5.1): an alert or a handshake, version 3.x.
_TLS_RECORDS = ("\x15\x03", "\x16\x03")
# OpenSSL's reasons when a server answers the TLS handshake with text.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")


def explain(error: Exception, timeout: float) -> str:
    """Describe why there was no response, as the end of a sentence that begins with the URL.

    The innermost cause of the exception is described, because it has the most precise message.
    ``timeout`` is in seconds.
    """
    import requests

    if isinstance(error, requests.ConnectTimeout):
        return f"got no connection within {timeout:g}s"
    cause = _innermost_cause(error)
    if isinstance(cause, TimeoutError):
        return no_response(timeout)
    return next(describe(cause) for kind, describe in _DESCRIPTIONS if isinstance(cause, kind))


def explain_incomplete(error: Exception) -> str:
    """Describe why a response that had begun did not arrive completely."""
    cause = _innermost_cause(error)
    partial, expected = getattr(cause, "partial", None), getattr(cause, "expected", None)
    if partial is not None and expected is not None:
        received = partial if isinstance(partial, int) else len(partial)
        return f"broke off after {received} bytes of the body, {expected} more were to come"
    return f"broke off: {one_short_line(getattr(cause, 'strerror', None) or str(cause))}"


def no_response(timeout: float) -> str:
    """Describe that nothing was received within ``timeout`` seconds."""
    return f"did not answer within {timeout:g}s"


def one_short_line(text: str) -> str:
    """Put a text on one line of at most 200 characters, with control characters escaped."""
    return escape_controls(" ".join(text.split()))[:_CAUSE_CHARS]


def _explain_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"failed in TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "failed in TLS: the connection was closed during the handshake"
    if error.reason in _NO_TLS:
        return "failed in TLS: the server does not speak it: write http://, or another port"
    return f"failed in TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"


def _explain_no_http(error: http.client.BadStatusLine) -> str:
    line = str(error.args[0])
    if line.startswith(_TLS_RECORDS):
        return "was answered in TLS: write https://, or another port"
    shown = one_short_line(line)
    return f"got no HTTP: the server {f'said {shown}' if shown else 'sent an empty line'}"


def _innermost_cause(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


# The first matching class is used, so the order matters: SSLError is an OSError, and the error of
# http.client for a connection that is closed early is a BadStatusLine and a ConnectionError.
_DESCRIPTIONS: tuple[tuple[type[BaseException], Callable[[Any], str]], ...] = (
    (ssl.SSLError, _explain_tls),
    (socket.gaierror, lambda error: f"found no address of its host: {error.strerror}"),
    # Since Python 3.13 the text of the error names the codec; the reason alone is as before.
    (UnicodeError, lambda error: f"has no proper host: {getattr(error, 'reason', error)}"),
    (ConnectionRefusedError, lambda _: "refused the connection"),
    (ConnectionError, lambda _: "closed the connection without an answer"),
    (http.client.BadStatusLine, _explain_no_http),
    (OSError, lambda error: f"cannot be reached: {one_short_line(error.strerror or str(error))}"),
    (BaseException, lambda error: f"got no proper answer: {one_short_line(str(error))}"),
)
