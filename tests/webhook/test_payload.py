"""Strict parsing of bodies: JSON, forms, and single members."""

from __future__ import annotations

import json
from urllib.parse import quote_plus

import pytest

from deployctl.webhook.payload import MalformedError, form_payload, member, parse, printable

NOT_JSON = "the body is not valid JSON in UTF-8"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", NOT_JSON),
        (b"{", NOT_JSON),
        (b"{} {}", NOT_JSON),
        (b'{"a": "\xff"}', NOT_JSON),
        ('{"a": 1}'.encode("utf-16"), NOT_JSON),
        (b'\xef\xbb\xbf{"a": 1}', NOT_JSON),
        (b'{"a": ' * 100_000, NOT_JSON),
        (b"[]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b'{"a": 1, "b": 2, "a": 3}', "a key occurs twice in one object"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "a key occurs twice in one object"),
        (b'{"a": NaN}', "NaN and Infinity are not JSON"),
        (b'{"a": -Infinity}', "NaN and Infinity are not JSON"),
        (b'{"a": 1e400}', "a number is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number is too long"),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "the body is nested too deeply"),
        (b'{"a": "\\ud83d"}', "a text holds half of a surrogate pair"),
        (b'{"\\ude00": 1}', "a text holds half of a surrogate pair"),
    ],
)
def test_a_body_that_two_parsers_could_read_differently_is_malformed(
    body: bytes, message: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(body)
    assert (caught.value.status, str(caught.value)) == (400, message)


def test_json_as_forges_send_it_is_parsed() -> None:
    body = b'{"id": 18446744073709551615, "text": "\\ud83d\\ude00 \xc3\xa9", "n": [1.5, null]}'
    assert parse(body) == {
        "id": 18446744073709551615,
        "text": "\U0001f600 é",
        "n": [1.5, None],
    }


def test_a_body_may_be_nested_64_deep() -> None:
    body = b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}"
    assert "a" in parse(body)


def test_a_form_holds_the_document_in_its_field_payload() -> None:
    text = json.dumps({"message": "a&b=c + ü"}, ensure_ascii=False)
    assert parse(form_payload(b"payload=" + quote_plus(text).encode())) == {"message": "a&b=c + ü"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the form does not have exactly one field payload"),
        (b"Payload={}", "the form does not have exactly one field payload"),
        (b"payload={}&payload={}", "the form does not have exactly one field payload"),
        (b"payload=%ff", "the body is not a form in UTF-8"),
        (b"a=1&" * 20 + b"payload={}", "the body is not a form in UTF-8"),
        (b"payload=[]", "the body is not a JSON object"),
    ],
)
def test_a_form_without_exactly_one_valid_payload_is_malformed(body: bytes, message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(form_payload(body))
    assert str(caught.value) == message


def test_a_member_has_the_requested_type_or_is_absent() -> None:
    document = {"id": 7, "name": None}
    assert member(document, "id", int) == 7
    assert member(document, "name", str) is None
    assert member(document, "other", str) is None


@pytest.mark.parametrize("value", [True, 7.0, "7", [7], {}])
def test_a_member_of_another_type_is_malformed(value: object) -> None:
    with pytest.raises(MalformedError) as caught:
        member({"id": value}, "id", int)
    assert str(caught.value) == "id is not of the type it should be"


def test_shown_text_is_one_short_line_without_control_characters() -> None:
    assert printable("a\x1b[31mb\r\nc\ud800 ü\u202e") == "a[31mbc ü"
    assert printable("x" * 1000) == "x" * 100
