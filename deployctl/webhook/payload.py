"""Parse the body of a delivery strictly: JSON that two parsers could read differently is refused.

Every delivery loads this module, so ``urllib.parse`` is imported for form bodies only.
"""

from __future__ import annotations

from deployctl.errors import DeployctlError
from deployctl.system.fast_imports import JsonReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeVar

    T = TypeVar("T")

MAX_DEPTH = 64
# The ids of every forge fit into 64 bits, and int() takes long for a long text.
MAX_DIGITS = 20


class MalformedError(DeployctlError):
    """A request that is not allowed or cannot be read, signed or not; ``status`` is for HTTP."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def form_payload(body: bytes) -> bytes:
    """Return the JSON text in the field ``payload`` of a form."""
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
    """Return the JSON object in these bytes, or raise MalformedError."""
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
    """Return one value of an object; None where it is absent or null.

    Raise MalformedError if the value is not of exactly that type; a bool is not an int here.
    """
    value = document.get(name)
    if value is None or (isinstance(value, kind) and type(value) is kind):
        return value
    raise MalformedError(f"{name} is not of the type it should be")


def printable(text: str, limit: int = 100) -> str:
    """Return untrusted text in a form that is safe to store and show.

    Control characters and line ends are removed, and the text is cut to ``limit`` characters.
    """
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
    """Raise MalformedError for half of a surrogate pair.

    JSON can spell it (``\\ud83d``), but it is not text and cannot be stored as UTF-8.
    """
    import json

    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedError("a text holds half of a surrogate pair") from None
