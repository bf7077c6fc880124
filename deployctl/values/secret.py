"""Secrets by reference: ``env:NAME``, ``file:PATH`` or the value itself, never shown.

This module is on the webhook's way: it imports nothing that is not loaded anyway.
"""

from __future__ import annotations

import os

from deployctl.errors import ConfigError
from deployctl.system.trust import require_trust

# What a web server sets from the request (RFC 3875, 4.1), and what servers add to that.
_OF_REQUEST = frozenset(
    (
        *("AUTH_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE", "DOCUMENT_URI", "PATH_INFO"),
        *("PATH_TRANSLATED", "QUERY_STRING", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_IDENT"),
        *("REMOTE_PORT", "REMOTE_USER", "REQUEST_METHOD", "REQUEST_URI", "SCRIPT_NAME"),
    )
)


def is_of_request(name: str) -> bool:
    """Whether a client could choose the value of this variable, and so a secret kept in it."""
    return name.startswith("HTTP_") or name in _OF_REQUEST


class Secret:
    """A secret value that is read when it is used and that no repr, log or traceback shows.

    ``reference`` is what repos.yml says; a ``file:`` path is absolute by the time it gets here.
    """

    __slots__ = ("reference",)

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    @property
    def is_reference(self) -> bool:
        """Whether it says where the value is, and not the value itself."""
        return self.reference.startswith(("env:", "file:"))

    @property
    def env_name(self) -> str | None:
        """The variable that holds it, where one does."""
        kind, _, name = self.reference.partition(":")
        return name if kind == "env" else None

    def reveal(self) -> str:
        """The value; :class:`ConfigError` says which variable or file is missing or empty."""
        kind, _, rest = self.reference.partition(":")
        if kind == "env":
            value = os.environ.get(rest, "")
            origin = f"the environment variable {rest}"
        elif kind == "file":
            value = _read(rest)
            origin = f"the secret file {rest}"
        else:
            value, origin = self.reference, "the secret"
        if not value:
            raise ConfigError(f"{origin} is empty or not set: put the secret there")
        return value


def _read(path: str) -> str:
    """The file's text without the line break that editors add; refused where others write it."""
    try:
        with open(path, encoding="utf-8") as file:
            require_trust(f"the secret file {path}", path, os.fstat(file.fileno()))
            return file.read().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(
            f"cannot read the secret file {path}: {reason}; create it, readable by this account"
        ) from None
