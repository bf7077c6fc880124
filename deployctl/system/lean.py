"""What the webhook takes of the standard library, at the price that it can pay.

A webhook is one short process, and importing json, sqlite3, hmac and signal takes as long as all
the rest of it: they bring re, enum, datetime and OpenSSL with them. Their parts that are written in
C are here by the same names and with the same behaviour; an interpreter that does not have one of
those gets the whole package.
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

    def _sqlite3() -> object:
        """_sqlite3 imports functools, and with it collections, for one function written in C."""
        import sys
        from _functools import _lru_cache_wrapper

        def lru_cache(size):
            return lambda function: _lru_cache_wrapper(function, size, False, tuple)

        if "functools" in sys.modules:
            return __import__("_sqlite3")
        alone = type(sys)("functools")
        alone.lru_cache = lru_cache
        sys.modules["functools"] = alone
        try:
            return __import__("_sqlite3")
        finally:
            del sys.modules["functools"]

    try:
        sqlite3 = _sqlite3()
    except ImportError:
        import sqlite3

__all__ = ["JsonReader", "compare", "hmac", "quote", "sha256", "signal", "sqlite3", "to_json"]

# JSON (RFC 8259)

_BLANKS = " \t\n\r"


class JsonReader:
    """Reads JSON texts; the four functions say what becomes of objects and numbers.

    The names of the attributes are those that the scanner looks for.
    """

    object_hook = None
    strict = True  # no control characters in strings

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
        self.parse_constant = constant or _no_constants
        self.memo: dict[str, str] = {}

    def read(self, text: str) -> Any:
        """The value of a whole text; ValueError where it is not JSON, RecursionError where deep."""
        start = len(text) - len(text.lstrip(_BLANKS))
        try:
            value, end = _make_scanner(self)(text, start)
        except (StopIteration, SystemError, ValueError):
            # Only json itself can say what is wrong; without it the scanner has no error to raise.
            return self._read_again(text)
        return self._read_again(text) if text[end:].strip(_BLANKS) else value

    def _read_again(self, text: str) -> Any:
        from json import JSONDecoder

        return JSONDecoder(
            object_pairs_hook=self.object_pairs_hook,
            parse_int=self.parse_int,
            parse_float=self.parse_float,
            parse_constant=self.parse_constant,
        ).decode(text)


def to_json(value: Any) -> str:
    """A value made of dict, list, tuple, str, int, float, bool and None, as JSON in ASCII."""
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(key)}: {to_json(value[key])}" for key in value) + "}"
    return "[" + ", ".join(map(to_json, value)) + "]"


def _no_constants(_text: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


# Hashes and comparison

_BLOCK = 64  # bytes; of SHA-1 and SHA-256 alike (FIPS 180-4)


def hmac(key: bytes, message: bytes, algorithm: str = "sha256") -> bytes:
    """RFC 2104, with SHA-256 or, where ``algorithm`` says so, SHA-1."""
    make = {"sha1": sha1, "sha256": sha256}[algorithm]
    if len(key) > _BLOCK:
        key = make(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    inner = make(key.translate(_INNER) + message).digest()
    digest: bytes = make(key.translate(_OUTER) + inner).digest()
    return digest


_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

if TYPE_CHECKING:
    from hashlib import sha1, sha256
    from hmac import compare_digest as compare
    from json.encoder import encode_basestring_ascii as quote

    def _make_scanner(context: JsonReader) -> Callable[[str, int], tuple[Any, int]]: ...
else:
    try:
        from _sha1 import sha1
        from _sha256 import sha256
    except ImportError:  # Python 3.12 has the second one in _sha2
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
            raise ValueError("the scanner in Python needs all of json around it")
