"""Check the proofs that a sender knows a secret: signatures, tokens, passwords.

Values are compared in constant time and as bytes: ``compare_digest`` refuses text beyond ASCII,
which any client can send. An empty secret never matches, nor does an empty proof.
"""

from __future__ import annotations

from deployctl.system import fast_imports


def hmac_matches(
    given: str, secret: bytes, message: bytes, *, prefix: str = "", algorithm: str = "sha256"
) -> bool:
    """Tell whether ``given`` is the prefix and the lower-case hexadecimal HMAC of the message."""
    if not secret:
        return False
    return texts_match(given, prefix + fast_imports.hmac(secret, message, algorithm).hex())


def texts_match(given: str, expected: str) -> bool:
    """Tell whether two texts are equal; ``expected``, computed here, must be ASCII."""
    return bool(expected) and fast_imports.compare(
        given.encode("ascii", "replace"), expected.encode()
    )


def token_matches(given: str, secret: bytes) -> bool:
    """Tell whether a header is the secret; ``given`` may hold raw bytes as surrogate escapes."""
    return bool(secret) and fast_imports.compare(given.encode("utf-8", "surrogateescape"), secret)


def basic_password_matches(given: str, secret: bytes) -> bool:
    """Tell whether a header Authorization has the secret as its password, for any user name.

    The user name ends at the first colon (RFC 7617).
    """
    scheme, _, credentials = given.partition(" ")
    if scheme.lower() != "basic":
        return False
    password = decode_base64(credentials).partition(b":")[2]
    return token_matches(password.decode("utf-8", "surrogateescape"), secret)


def decode_base64(text: str | bytes) -> bytes:
    """Return the bytes that a base64 text stands for; no bytes where it is not base64."""
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(text)
    except (Error, ValueError):
        return b""
