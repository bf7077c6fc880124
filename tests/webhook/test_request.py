"""The request of a delivery: method, content type, length, and draining of the body."""

from __future__ import annotations

import io
import socket

import pytest

from deployctl.webhook.payload import MalformedError
from deployctl.webhook.request import MAX_DRAINED, Request

BODY = b'{"a": 1}'


class Stream(io.BytesIO):
    """A stream that tells how many bytes were read from it."""

    @property
    def bytes_read(self) -> int:
        return self.tell()


def make(
    body: bytes = BODY,
    *,
    method: str = "POST",
    content_type: str = "application/json",
    **more: str,
) -> tuple[Request, Stream]:
    """Return a request and the stream of its body; ``more`` are headers (content_length)."""
    renamed = {name.replace("_", "-"): value for name, value in more.items()}
    headers = {"content-type": content_type, **renamed}
    stream = Stream(body)
    return Request(method, "", headers, stream), stream


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "post", ""])
def test_only_post_is_answered(method: str) -> None:
    request, _ = make(method=method, content_length="8")
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert (caught.value.status, str(caught.value)) == (405, "only POST is answered here")


@pytest.mark.parametrize(
    "length", ["-1", "+8", " 8", "8 ", "8\n", "1_0", "٨", "8.0", "0x8", "8, 8", "1" * 21]
)
def test_a_length_that_is_not_plain_digits_is_malformed(length: str) -> None:
    request, _ = make(content_length=length)
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert caught.value.status == 400
    assert str(caught.value) == "the Content-Length is not a number of bytes"


@pytest.mark.parametrize("more", [{}, {"content_length": ""}])
def test_a_length_is_required(more: dict[str, str]) -> None:
    request, _ = make(b"", **more)
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert (caught.value.status, str(caught.value)) == (411, "the Content-Length is missing")


def test_a_chunked_body_is_read_to_its_end() -> None:
    request, _ = make(content_length="", transfer_encoding="chunked")
    assert request.read_body(8) == BODY


def test_a_chunked_body_beyond_the_limit_is_too_large() -> None:
    request, _ = make(transfer_encoding="chunked")
    with pytest.raises(MalformedError) as caught:
        request.read_body(7)
    assert (caught.value.status, str(caught.value)) == (413, "the body is too large")


def test_a_content_length_from_the_server_counts_for_a_chunked_body_too() -> None:
    request, _ = make(BODY + b"more", content_length="8", transfer_encoding="chunked")
    assert request.read_body(100) == BODY


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/json ;a=b"]
)
def test_the_content_type_of_json_may_have_parameters(content_type: str) -> None:
    request, _ = make(content_type=content_type, content_length="8")
    assert (request.read_body(100), request.is_form) == (BODY, False)


def test_a_form_is_recognised_by_its_content_type() -> None:
    request, _ = make(content_type="application/x-www-form-urlencoded", content_length="8")
    assert (request.read_body(100), request.is_form) == (BODY, True)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/jsonp", "multipart/form-data"]
)
def test_another_content_type_is_refused(content_type: str) -> None:
    request, _ = make(content_type=content_type, content_length="8")
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert caught.value.status == 415


def test_a_body_that_is_too_large_is_not_read() -> None:
    request, stream = make(content_length="99999999")
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert (caught.value.status, stream.bytes_read) == (413, 0)


def test_a_body_shorter_than_announced_is_malformed() -> None:
    request, _ = make(content_length="9")
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert str(caught.value) == "the body is shorter than its Content-Length"


def test_a_connection_that_breaks_within_the_body_is_malformed() -> None:
    headers = {"content-type": "application/json", "content-length": "8"}
    with socket.socket() as unconnected, unconnected.makefile("rb") as stream:
        request = Request("POST", "", headers, stream)
        with pytest.raises(MalformedError) as caught:
            request.read_body(100)
    assert str(caught.value) == "the connection broke within the body"


def test_no_more_than_the_announced_body_is_drained() -> None:
    request, stream = make(b"x" * 200_000, content_length="100000")
    request.drain()
    assert stream.bytes_read == 100_000


def test_draining_stops_where_the_body_that_was_read_ends() -> None:
    request, stream = make(BODY + b"another request", content_length="8")
    request.read_body(100)
    request.drain()
    assert stream.bytes_read == 8


def test_nothing_is_drained_where_there_is_no_body() -> None:
    request, stream = make(b"another request", method="GET")
    request.drain()
    assert stream.bytes_read == 0


def test_a_body_of_unknown_length_is_drained_to_its_end() -> None:
    more = {"content_length": "", "transfer_encoding": "chunked"}
    request, stream = make(b"x" * 200_000, **more)
    request.drain()
    assert stream.bytes_read == 200_000


def test_a_body_with_an_invalid_length_is_not_drained() -> None:
    request, stream = make(b"x" * 200_000, content_length="-1")
    request.drain()
    assert stream.bytes_read == 0


def test_a_length_of_twenty_digits_is_too_large() -> None:
    request, _ = make(content_length="9" * 20)
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert caught.value.status == 413


def test_draining_has_a_limit() -> None:
    request, stream = make(b"x" * (MAX_DRAINED + 100_000), content_length="99999999")
    request.drain()
    assert stream.bytes_read == MAX_DRAINED
