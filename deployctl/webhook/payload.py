"""The body of a delivery, read strictly: what two parsers could read differently is refused.

This module is on the webhook's way: ``urllib.parse`` is loaded for form bodies only.
"""

from __future__ import annotations

from deployctl.errors import DeployctlError
from deployctl.system.lean import JsonReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeVar

    T = TypeVar("T")

MAX_DEPTH = 64
# Every id of every forge fits into 64 bits, and int() of a long text takes long.
MAX_DIGITS = 20


class MalformedError(DeployctlError):
    """Not a request that we take, whoever sent it; ``status`` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def form_payload(body: bytes) -> bytes:
    """The JSON in a form's field ``payload``."""
    from urllib.parse import parse_qs

    try:
        fields = parse_qs(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=16
        )
    except ValueError:
        raise MalformedError("the body is not a form in UTF-8") from None
    values = fields.get("payload", [])
    if len(values) != 1:
        raise MalformedError("the form does not have exactly one field payload")
    return values[0].encode()


def parse(payload: bytes) -> dict[str, Any]:
    """The JSON object that these bytes are."""
    try:
        text = payload.decode("utf-8")
        document = _reader().read(text)
    except (ValueError, RecursionError):
        raise MalformedError("the body is not valid JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise MalformedError("the body is not a JSON object")
    _check_depth(document)
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(document)
    return document


def member(document: dict[str, Any], name: str, kind: type[T]) -> T | None:
    """One value of an object, None where it is absent or null; anything else is malformed."""
    value = document.get(name)
    if value is None or (isinstance(value, kind) and type(value) is kind):
        return value
    raise MalformedError(f"{name} is not of the type it should be")


def printable(text: str, limit: int = 100) -> str:
    """A stranger's text as it may be stored and shown: one line, cut, no control characters."""
    return "".join(char for char in text[: limit * 2] if char.isprintable())[:limit]


def _reader() -> JsonReader:
    return JsonReader(pairs=_object, integer=_integer, number=_number, constant=_refuse_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedError("a key occurs twice in one object")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise MalformedError("a number is too long")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise MalformedError("a number is too large")
    return number


def _refuse_constant(_text: str) -> NoReturn:
    raise MalformedError("NaN and Infinity are not JSON")


def _check_depth(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise MalformedError("the body is nested too deeply")


def _children(value: dict[str, Any] | list[Any]) -> list[Any]:
    members = value.values() if isinstance(value, dict) else value
    return [child for child in members if isinstance(child, (dict, list))]


def _check_surrogates(document: dict[str, Any]) -> None:
    """JSON can spell half of a surrogate pair, which is no text and cannot be stored."""
    import json

    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedError("a text holds half of a surrogate pair") from None
