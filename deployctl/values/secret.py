"""Secrets of repos.yml: ``env:NAME``, ``file:PATH`` or the value itself, never shown.

The webhook loads this module, so it imports only modules that the webhook loads in any case.
"""

from __future__ import annotations

import os

from deployctl.errors import ConfigError
from deployctl.system.trust import require_unchangeable_by_others

# The variables that a web server sets from the request (RFC 3875, 4.1), and those that servers add.
_REQUEST_VARIABLES = frozenset(
    (
        *("AUTH_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE", "DOCUMENT_URI", "PATH_INFO"),
        *("PATH_TRANSLATED", "QUERY_STRING", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_IDENT"),
        *("REMOTE_PORT", "REMOTE_USER", "REQUEST_METHOD", "REQUEST_URI", "SCRIPT_NAME"),
    )
)


def is_set_by_web_server(name: str) -> bool:
    """Tell whether an HTTP client can set this environment variable of a CGI process.

    A secret must not be read from such a variable, since the client could choose its value.
    """
    return name.startswith("HTTP_") or name in _REQUEST_VARIABLES


class Secret:
    """A secret value that is read when it is used, and that no repr, log or traceback shows.

    ``reference`` is the text from repos.yml; the path of ``file:`` is absolute here.
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
        """Tell whether it names a variable or file that holds the value."""
        return self.reference.startswith(("env:", "file:"))

    @property
    def env_name(self) -> str | None:
        """The name of the environment variable that holds the value; None if none does."""
        kind, _, name = self.reference.partition(":")
        return name if kind == "env" else None

    def reveal(self) -> str:
        """Return the value.

        :class:`ConfigError` if it is empty or missing, or if its file cannot be read or trusted.
        """
        kind, _, rest = self.reference.partition(":")
        if kind == "env":
            value = os.environ.get(rest, "")
            source = f"the environment variable {rest}"
        elif kind == "file":
            value = _read(rest)
            source = f"the secret file {rest}"
        else:
            value, source = self.reference, "the secret"
        if not value:
            raise ConfigError(f"{source} is empty or not set: put the secret there")
        return value


def _read(path: str) -> str:
    """Return the file's text without the line break that editors add at its end.

    A file that other accounts can write is refused.
    """
    try:
        with open(path, encoding="utf-8") as file:
            require_unchangeable_by_others(f"the secret file {path}", path, os.fstat(file.fileno()))
            return file.read().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(
            f"cannot read the secret file {path}: {reason}; create it, readable by this account"
        ) from None
