from __future__ import annotations

import io
import socket

import pytest

from deployctl.webhook.payload import MalformedError
from deployctl.webhook.request import MAX_DRAINED, Request

BODY = b'{"a": 1}'


class Stream(io.BytesIO):
    """What a server's pipe is, with a note of how much was read."""

    @property
    def taken(self) -> int:
        return self.tell()


def make(
    body: bytes = BODY, *, method: str = "POST", kind: str = "application/json", **more: str
) -> tuple[Request, Stream]:
    headers = {"content-type": kind, **{name.replace("_", "-"): more[name] for name in more}}
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


def test_a_chunked_body_goes_on_to_its_end() -> None:
    request, _ = make(content_length="", transfer_encoding="chunked")
    assert request.read_body(8) == BODY


def test_a_chunked_body_beyond_the_limit_is_too_large() -> None:
    request, _ = make(transfer_encoding="chunked")
    with pytest.raises(MalformedError) as caught:
        request.read_body(7)
    assert (caught.value.status, str(caught.value)) == (413, "the body is too large")


def test_a_chunked_body_whose_length_the_server_counted_has_that_length() -> None:
    request, _ = make(BODY + b"more", content_length="8", transfer_encoding="chunked")
    assert request.read_body(100) == BODY


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/json ;a=b"]
)
def test_json_may_come_with_parameters(kind: str) -> None:
    request, _ = make(kind=kind, content_length="8")
    assert (request.read_body(100), request.is_form) == (BODY, False)


def test_a_form_is_told_from_json() -> None:
    request, _ = make(kind="application/x-www-form-urlencoded", content_length="8")
    assert (request.read_body(100), request.is_form) == (BODY, True)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/jsonp", "multipart/form-data"])
def test_another_type_is_unsupported(kind: str) -> None:
    request, _ = make(kind=kind, content_length="8")
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert caught.value.status == 415


def test_a_body_too_large_is_not_read_for_that() -> None:
    request, stream = make(content_length="99999999")
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert (caught.value.status, stream.taken) == (413, 0)


def test_a_body_shorter_than_announced_is_malformed() -> None:
    request, _ = make(content_length="9")
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert str(caught.value) == "the body is shorter than its Content-Length"


def test_a_connection_that_breaks_is_the_clients_doing_and_no_bug() -> None:
    given = {"content-type": "application/json", "content-length": "8"}
    with socket.socket() as unconnected, unconnected.makefile("rb") as stream:
        request = Request("POST", "", given, stream)
        with pytest.raises(MalformedError) as caught:
            request.read_body(100)
    assert str(caught.value) == "the connection broke within the body"


def test_no_more_than_the_announced_body_is_drained() -> None:
    request, stream = make(b"x" * 200_000, content_length="100000")
    request.drain()
    assert stream.taken == 100_000


def test_what_was_read_already_is_not_drained_again() -> None:
    request, stream = make(BODY + b"another request", content_length="8")
    request.read_body(100)
    request.drain()
    assert stream.taken == 8


def test_nothing_is_drained_where_there_is_no_body() -> None:
    request, stream = make(b"another request", method="GET")
    request.drain()
    assert stream.taken == 0


def test_a_body_of_unknown_length_is_drained_to_its_end() -> None:
    more = {"content_length": "", "transfer_encoding": "chunked"}
    request, stream = make(b"x" * 200_000, **more)
    request.drain()
    assert stream.taken == 200_000


def test_a_body_of_no_length_at_all_is_not_waited_for() -> None:
    request, stream = make(b"x" * 200_000, content_length="-1")
    request.drain()
    assert stream.taken == 0


def test_a_length_of_many_digits_is_too_large() -> None:
    request, _ = make(content_length="9" * 20)
    with pytest.raises(MalformedError) as caught:
        request.read_body(100)
    assert caught.value.status == 413


def test_draining_has_a_limit() -> None:
    request, stream = make(b"x" * (MAX_DRAINED + 100_000), content_length="99999999")
    request.drain()
    assert stream.taken == MAX_DRAINED
