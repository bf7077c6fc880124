"""How a delivery proves that its sender knows a secret.

Compared in constant time and as bytes: ``compare_digest`` refuses text beyond ASCII, which any
client can send. An empty secret never fits anything, nor does an empty proof.
"""

from __future__ import annotations

from deployctl.system import lean


def hmac_fits(
    given: str, secret: bytes, message: bytes, *, prefix: str = "", algorithm: str = "sha256"
) -> bool:
    """Whether ``given`` is the prefix and the lower-case hexadecimal HMAC of the message."""
    if not secret:
        return False
    return fits(given, prefix + lean.hmac(secret, message, algorithm).hex())


def fits(given: str, wanted: str) -> bool:
    """Whether two texts are the same; ``wanted``, which is ours, is ASCII."""
    return bool(wanted) and lean.compare(given.encode("ascii", "replace"), wanted.encode())


def token_fits(given: str, secret: bytes) -> bool:
    """Whether a header is the secret itself; servers hand its bytes on as surrogate escapes."""
    return bool(secret) and lean.compare(given.encode("utf-8", "surrogateescape"), secret)


def basic_fits(given: str, secret: bytes) -> bool:
    """Whether a header Authorization has the secret for a password, whoever the user is.

    RFC 7617: the user's name ends at the first colon.
    """
    scheme, _, credentials = given.partition(" ")
    if scheme.lower() != "basic":
        return False
    password = from_base64(credentials).partition(b":")[2]
    return token_fits(password.decode("utf-8", "surrogateescape"), secret)


def from_base64(text: str | bytes) -> bytes:
    """What the text stands for; nothing where it is no base64."""
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(text)
    except (Error, ValueError):
        return b""
