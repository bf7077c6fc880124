"""Offer JSON, SQLite, HMAC and signals to the webhook without the import time of their packages.

The webhook is one short process. Importing json, sqlite3, hmac and signal would take as long as
everything else it does, because they import re, enum, datetime and OpenSSL. This module imports
only the parts of them that are written in C, under the same names and with the same behaviour. If
an interpreter lacks one of these parts, it imports the whole package instead.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import sqlite3
    from collections.abc import Callable
    from typing import Any
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

    def _import_sqlite3() -> object:
        """Import _sqlite3 with a substitute for functools.

        _sqlite3 needs only functools.lru_cache, which is written in C, but importing functools
        imports collections too.
        """
        import sys
        from _functools import _lru_cache_wrapper

        def lru_cache(size):
            return lambda function: _lru_cache_wrapper(function, size, False, tuple)

        if "functools" in sys.modules:
            return __import__("_sqlite3")
        substitute = type(sys)("functools")
        substitute.lru_cache = lru_cache
        sys.modules["functools"] = substitute
        try:
            return __import__("_sqlite3")
        finally:
            del sys.modules["functools"]

    try:
        sqlite3 = _import_sqlite3()
    except ImportError:
        import sqlite3

__all__ = ["JsonReader", "compare", "hmac", "quote", "sha256", "signal", "sqlite3", "to_json"]

# JSON (RFC 8259)

_WHITESPACE = " \t\n\r"


class JsonReader:
    """A reader of JSON texts.

    ``pairs`` makes the value of an object from its list of (name, value); the default is a dict.
    ``integer``, ``number`` and ``constant`` make values from the text of an integer, of another
    number, and of NaN, Infinity or -Infinity, which by default is an error.

    CPython's scanner in C reads its settings from the attributes of this object, by these names.
    """

    object_hook = None
    strict = True  # control characters in strings are an error

    def __init__(
        self,
        *,
        pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
        integer: Callable[[str], Any] = int,
        number: Callable[[str], Any] = float,
        constant: Callable[[str], Any] | None = None,
    ) -> None:
        self.object_pairs_hook = pairs
        self.parse_int = integer
        self.parse_float = number
        self.parse_constant = constant or _reject_constant
        self.memo: dict[str, str] = {}

    def read(self, text: str) -> Any:
        """Return the value of a whole text.

        Raise ValueError if it is not JSON, RecursionError if it is nested too deeply.
        """
        start = len(text) - len(text.lstrip(_WHITESPACE))
        try:
            value, end = _make_scanner(self)(text, start)
        except (StopIteration, SystemError, ValueError):
            # The scanner in C takes its JSONDecodeError from json, which is not imported here: let
            # json read the text and raise the error with its message.
            return self._read_with_json(text)
        return self._read_with_json(text) if text[end:].strip(_WHITESPACE) else value

    def _read_with_json(self, text: str) -> Any:
        from json import JSONDecoder

        return JSONDecoder(
            object_pairs_hook=self.object_pairs_hook,
            parse_int=self.parse_int,
            parse_float=self.parse_float,
            parse_constant=self.parse_constant,
        ).decode(text)


def to_json(value: Any) -> str:
    """Return a value made of dict, list, tuple, str, int, float, bool and None as ASCII JSON."""
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(key)}: {to_json(value[key])}" for key in value) + "}"
    return "[" + ", ".join(map(to_json, value)) + "]"


def _reject_constant(_text: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


# Hashes and comparison

_BLOCK = 64  # bytes; the block size of both SHA-1 and SHA-256 (FIPS 180-4)


def hmac(key: bytes, message: bytes, algorithm: str = "sha256") -> bytes:
    """Return the HMAC of a message (RFC 2104); ``algorithm`` is ``sha256`` or ``sha1``."""
    new_hash = {"sha1": sha1, "sha256": sha256}[algorithm]
    if len(key) > _BLOCK:
        key = new_hash(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    inner = new_hash(key.translate(_INNER_PAD) + message).digest()
    digest: bytes = new_hash(key.translate(_OUTER_PAD) + inner).digest()
    return digest


_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))

if TYPE_CHECKING:
    from hashlib import sha1, sha256
    from hmac import compare_digest as compare
    from json.encoder import encode_basestring_ascii as quote

    def _make_scanner(context: JsonReader) -> Callable[[str, int], tuple[Any, int]]: ...
else:
    try:
        from _sha1 import sha1
        from _sha256 import sha256
    except ImportError:  # Python 3.12 has sha256 in _sha2
        try:
            from _sha1 import sha1

            from _sha2 import sha256
        except ImportError:
            from hashlib import sha1, sha256
    try:
        from _operator import _compare_digest as compare
    except ImportError:
        from hmac import compare_digest as compare
    try:
        from _json import encode_basestring_ascii as quote
        from _json import make_scanner as _make_scanner
    except ImportError:
        from json.encoder import encode_basestring_ascii as quote

        def _make_scanner(_context):
            raise ValueError("json's scanner written in Python needs the whole package")
