"""Secrets: read when they are used, and never shown."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from deployctl.errors import ConfigError
from deployctl.values.secret import Secret, is_set_by_web_server


def complaint_of(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def test_a_reference_without_a_known_prefix_is_the_value_itself() -> None:
    assert Secret("hunter2").reveal() == "hunter2"
    assert Secret("https://example.org/x").reveal() == "https://example.org/x"


def test_a_variable_is_read_each_time_the_secret_is_revealed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = Secret("env:TOKEN")
    monkeypatch.setenv("TOKEN", "one")
    assert secret.reveal() == "one"
    monkeypatch.setenv("TOKEN", "two ")
    assert secret.reveal() == "two "


@pytest.mark.parametrize(
    ("content", "value"),
    [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" a\nb \n\n", " a\nb "), ("grün", "grün")],
)
def test_a_file_is_read_without_the_line_break_at_its_end(
    tmp_path: Path, content: str, value: str
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content.encode())
    assert Secret(f"file:{path}").reveal() == value


@pytest.mark.parametrize("value", [None, ""])
def test_the_error_names_a_variable_that_is_empty_or_missing(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKEN", value)
    assert complaint_of(Secret("env:TOKEN").reveal) == (
        "the environment variable TOKEN is empty or not set: put the secret there"
    )


def test_the_error_names_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    assert complaint_of(Secret(f"file:{tmp_path}/token").reveal) == (
        f"the secret file {tmp_path}/token is empty or not set: put the secret there"
    )


def test_the_error_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert complaint_of(Secret(f"file:{tmp_path}/none").reveal) == (
        f"cannot read the secret file {tmp_path}/none: No such file or directory; "
        "create it, readable by this account"
    )
    assert complaint_of(Secret(f"file:{tmp_path}").reveal) == (
        f"cannot read the secret file {tmp_path}: Is a directory; "
        "create it, readable by this account"
    )


def test_the_error_for_a_file_that_is_not_text_does_not_show_its_content(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"hunter2\xff")
    try:
        Secret(f"file:{tmp_path}/token").reveal()
    except ConfigError as error:
        assert str(error) == (
            f"cannot read the secret file {tmp_path}/token: not UTF-8 text; "
            "create it, readable by this account"
        )
        assert "hunter2" not in "".join(traceback.format_exception(error))


def test_an_empty_value_is_refused() -> None:
    assert complaint_of(Secret("").reveal) == "the secret is empty or not set: put the secret there"


def test_repr_str_and_formatting_do_not_show_the_value() -> None:
    secret = Secret("hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{[secret]}", f"{(secret,)!r:>30}"]
    assert not [text for text in shown if "hunter2" in text]
    assert not hasattr(secret, "__dict__")


def test_secrets_with_equal_references_are_equal() -> None:
    assert Secret("env:A") == Secret("env:A")
    assert len({Secret("env:A"), Secret("env:A"), Secret("env:B")}) == 2
    assert Secret("env:A") != "env:A"


@pytest.mark.parametrize("name", ["HTTP_HOOK_SECRET", "QUERY_STRING", "REMOTE_USER", "PATH_INFO"])
def test_a_variable_that_an_http_client_can_set_is_recognised(name: str) -> None:
    assert is_set_by_web_server(name)
    assert not is_set_by_web_server(f"BLOG_{name}")
