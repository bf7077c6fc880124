"""Checks of the URLs in repos.yml: of git remotes, health checks and channels."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from deployctl.config.complaints import ComplaintError, Reading
from deployctl.config.json_schema_types import CHANNEL_URL, GIT_URL, HEALTH_URL, shaped
from deployctl.config.readers import line, path, secret
from deployctl.config.yaml_tree import Node
from deployctl.values.secret import Secret

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# gitremote-helpers(7): `ext::sh -c …` runs any command, and other helpers are as dangerous.
_TRANSPORT_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")
_ALLOWED_URLS = "https://, ssh://, git@host:path, file:/// or a path"


@shaped(GIT_URL)
def git_url(node: Node, reading: Reading) -> str:
    """Read the URL or path that git fetches from; a path becomes absolute, a URL is not changed."""
    value = line(node, reading)
    if value.startswith("-"):
        raise ComplaintError(node, f"git would take it for an option: wanted {_ALLOWED_URLS}")
    if _TRANSPORT_HELPER.match(value):
        raise ComplaintError(
            node, f"transport helpers (xx::) can run commands: wanted {_ALLOWED_URLS}"
        )
    scheme = _SCHEME.match(value)
    if scheme:
        _check_scheme(node, scheme[1], value)
    elif _is_scp_like(value):
        _check_scp_like(node, value)
    else:
        return path(node, reading)
    return value


def _check_scheme(node: Node, scheme: str, value: str) -> None:
    if scheme in ("http", "git"):
        raise ComplaintError(
            node, f"{scheme}:// is neither encrypted nor verified: use https:// or ssh://"
        )
    if scheme == "file" and not value.startswith("file:///"):
        raise ComplaintError(node, "wanted an absolute path after file://")
    if scheme not in ("https", "ssh", "file"):
        raise ComplaintError(node, f"unknown kind of URL: wanted {_ALLOWED_URLS}")
    if scheme != "file":
        _split_checked(node, value, "use an ssh url with a deploy key (ssh_key)")


def _is_scp_like(value: str) -> bool:
    """Tell whether git takes this for ``host:path``: a colon, no slash before it (git-clone(1))."""
    return ":" in value.partition("/")[0]


def _check_scp_like(node: Node, value: str) -> None:
    host, _, rest = value.partition(":")
    name = host.rpartition("@")[2]
    if not name or name.startswith("-") or " " in host or not rest:
        raise ComplaintError(node, "wanted git@host:path, with a host and a path")


@shaped(HEALTH_URL)
def health_url(node: Node, reading: Reading) -> str:
    """Read an http or https URL, or the path of a Unix socket as http+unix://%2Frun%2Fapp.sock/.

    Refuse link-local addresses: at 169.254.169.254, cloud providers give credentials to the
    programs on a machine.
    """
    value = line(node, reading)
    if value.startswith("http+unix://"):
        return _socket_url(node, value)
    if not re.match(r"https?://", value):
        raise ComplaintError(
            node, "wanted a URL that starts with http://, https:// or http+unix://"
        )
    host = _split_checked(node, value, "send it with headers").hostname or ""
    if _is_link_local(host):
        raise ComplaintError(
            node, "a link-local address (169.254.0.0/16, fe80::/10): name the service itself"
        )
    return value


def _socket_url(node: Node, value: str) -> str:
    """Return the URL of a Unix socket; its path stands in place of the host, percent-encoded."""
    host = urlsplit(value).netloc
    if not re.match("%2F|[$]", host, re.IGNORECASE) or " " in value:
        raise ComplaintError(
            node,
            "wanted the socket's whole path in place of the host: http+unix://%2Frun%2Fapp.sock/",
        )
    return value


def _split_checked(node: Node, value: str, instead_of_password: str) -> SplitResult:
    """Return the parts of a URL; raise ComplaintError if its host is bad or it has a password.

    ``instead_of_password`` is for the complaint: a better place for the password.
    """
    try:
        parts = urlsplit(value)
        valid = parts.hostname and not parts.hostname.startswith("-") and parts.port != 0
    except ValueError:
        valid = False
    if not valid or " " in value:
        raise ComplaintError(node, "not a URL: look at its host and port")
    if parts.password is not None:
        raise ComplaintError(node, f"a password in a URL gets shown: {instead_of_password}")
    return parts


def _is_link_local(host: str) -> bool:
    """Tell whether a host is a link-local address, in any spelling.

    inet_aton(3) also accepts 2852039166 and 0xa9.254.169.254, and so do programs that connect.
    """
    try:
        return ipaddress.ip_address(socket.inet_aton(host)).is_link_local
    except OSError:
        pass
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_link_local


@shaped(CHANNEL_URL)
def channel_url(node: Node, reading: Reading) -> Secret:
    """Read an Apprise URL, or a reference to it; it usually has a token, so it is a secret."""
    value = secret(node, reading)
    if not value.reference.startswith(("env:", "file:")) and "://" not in value.reference:
        raise ComplaintError(
            node, "wanted an Apprise URL such as mailto://… or bark://…, env:NAME or file:PATH"
        )
    return value
