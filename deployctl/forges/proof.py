"""How a delivery proves that its sender knows a secret.

Compared in constant time and as bytes: ``compare_digest`` refuses text beyond ASCII, which any
client can send. An empty secret never fits anything, nor does an empty proof.
"""

from __future__ import annotations

import hmac


def hmac_fits(
    given: str, secret: bytes, message: bytes, *, prefix: str = "", algorithm: str = "sha256"
) -> bool:
    """Whether ``given`` is the prefix and the lower-case hexadecimal HMAC of the message."""
    if not secret:
        return False
    return fits(given, prefix + hmac.digest(secret, message, algorithm).hex())


def fits(given: str, wanted: str) -> bool:
    """Whether two texts are the same; ``wanted``, which is ours, is ASCII."""
    return bool(wanted) and hmac.compare_digest(given.encode("ascii", "replace"), wanted.encode())


def token_fits(given: str, secret: bytes) -> bool:
    """Whether a header is the secret itself; servers hand its bytes on as surrogate escapes."""
    return bool(secret) and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret)


def from_base64(text: str | bytes) -> bytes:
    """What the text stands for; nothing where it is no base64."""
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(text)
    except (Error, ValueError):
        return b""
