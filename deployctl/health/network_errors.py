"""What went wrong between us and a server, in the words of a person."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from typing import Any

from deployctl.values.masking import escape_controls

_CAUSE_CHARS = 200
# TLS records as they begin (RFC 8446, 5.1): an alert or a handshake, version 3.x.
_TLS = ("\x15\x03", "\x16\x03")
# What OpenSSL says of a server that answers a handshake with text.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")


def explain(error: Exception, timeout: float) -> str:
    """Why there is no answer: part of a sentence; the innermost cause knows best."""
    import requests

    if isinstance(error, requests.ConnectTimeout):
        return f"got no connection within {timeout:g}s"
    cause = _root(error)
    if isinstance(cause, TimeoutError):
        return late(timeout)
    return next(in_words(cause) for kind, in_words in _WORDS if isinstance(cause, kind))


def explain_broken_off(error: Exception) -> str:
    """Why an answer that had begun did not come whole."""
    cause = _root(error)
    partial, expected = getattr(cause, "partial", None), getattr(cause, "expected", None)
    if partial is not None and expected is not None:
        got = partial if isinstance(partial, int) else len(partial)
        return f"broke off after {got} bytes of the body, {expected} more were to come"
    return f"broke off: {in_short(getattr(cause, 'strerror', None) or str(cause))}"


def late(timeout: float) -> str:
    return f"did not answer within {timeout:g}s"


def in_short(text: str) -> str:
    """A foreign text on one line, not too long of it."""
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
    if line.startswith(_TLS):
        return "was answered in TLS: write https://, or another port"
    said = in_short(line)
    return f"got no HTTP: the server {f'said {said}' if said else 'sent an empty line'}"


def _root(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


# The first that fits: a TLS error is an OSError, a connection closed early a BadStatusLine as well.
_WORDS: tuple[tuple[type[BaseException], Callable[[Any], str]], ...] = (
    (ssl.SSLError, _explain_tls),
    (socket.gaierror, lambda error: f"found no address of its host: {error.strerror}"),
    (UnicodeError, lambda error: f"has no proper host: {error}"),
    (ConnectionRefusedError, lambda _: "refused the connection"),
    (ConnectionError, lambda _: "closed the connection without an answer"),
    (http.client.BadStatusLine, _explain_no_http),
    (OSError, lambda error: f"cannot be reached: {in_short(error.strerror or str(error))}"),
    (BaseException, lambda error: f"got no proper answer: {in_short(str(error))}"),
)
