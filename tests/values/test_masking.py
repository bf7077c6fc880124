"""Secrets are hidden in every form and in chunks of any size; control characters are escaped."""

from __future__ import annotations

import base64
import random
import string
import time
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest

from deployctl.values.masking import Masker, escape_controls

ALPHABETS = ("ab", "aab\n", string.ascii_letters + string.digits, string.printable, "äöü€𝄞x")
SEEDS = range(60)


def random_text(generator: random.Random, alphabet: str, length: int) -> str:
    return "".join(generator.choices(alphabet, k=length))


def chunks_of(generator: random.Random, data: bytes) -> Iterator[bytes]:
    """Yield the data in chunks of random length, also empty ones."""
    while data:
        length = generator.choice((0, 1, 2, 3, 7, 50))
        yield data[:length]
        data = data[length:]


def mask_stream(masker: Masker, chunks: Iterator[bytes]) -> bytes:
    return b"".join(masker.mask(chunk) for chunk in chunks) + masker.flush()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_in_chunks_is_masked_like_the_whole_text(seed: int) -> None:
    generator = random.Random(seed)
    alphabet = generator.choice(ALPHABETS)
    secrets = [random_text(generator, alphabet, generator.randint(6, 20)) for _ in range(3)]
    parts = [random_text(generator, alphabet, 15), *secrets, secrets[0][:-1], secrets[1][1:]]
    text = "".join(generator.choices(parts, k=20))
    masker = Masker(secrets)
    whole = masker.mask_text(text)
    assert mask_stream(masker, chunks_of(generator, text.encode())) == whole.encode()
    assert not any(secret in whole for secret in secrets)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_base64_of_a_secret_is_shown_in_chunks_of_any_size(seed: int) -> None:
    generator = random.Random(seed)
    secret = random_text(generator, string.printable, generator.randint(6, 40))
    before = random_text(generator, string.ascii_letters, generator.randint(0, 5))
    after = random_text(generator, string.ascii_letters, generator.randint(0, 5))
    plain = f"{before}{secret}{after}".encode()
    for coded in (base64.b64encode(plain), base64.urlsafe_b64encode(plain)):
        shown = mask_stream(Masker([secret]), chunks_of(generator, b"<" + coded + b">"))
        # The digits of the text around the secret are left, and one digit at each border.
        digits = shown.replace(b"[hidden]", b"").strip(b"<>=")
        assert b"[hidden]" in shown
        assert len(digits) <= (len(before) + len(after)) * 4 / 3 + 4


@pytest.mark.parametrize(
    "form",
    [
        "p/ss w+rd&ü",
        quote("p/ss w+rd&ü"),
        quote("p/ss w+rd&ü", safe=""),
        quote_plus("p/ss w+rd&ü"),
    ],
)
def test_a_secret_is_hidden_as_it_is_and_url_quoted(form: str) -> None:
    assert (
        Masker(["p/ss w+rd&ü"]).mask_text(f"https://x/?key={form}!") == "https://x/?key=[hidden]!"
    )


def test_a_secret_is_hidden_in_the_header_of_basic_authentication() -> None:
    coded = base64.b64encode(b"deploy:correct horse").decode()
    shown = Masker(["correct horse"]).mask_text(f"Authorization: Basic {coded}")
    assert shown == "Authorization: Basic ZGVwbG95Om[hidden]U="


def test_each_line_of_a_secret_is_hidden() -> None:
    key = "-----BEGIN KEY-----\nc2VjcmV0LW9uZQ\nc2VjcmV0LXR3bw\nxy\n-----END KEY-----\n"
    assert Masker([key]).mask_text("2: c2VjcmV0LXR3bw\n3: xy\n") == "2: [hidden]\n3: xy\n"
    assert Masker([key]).mask_text(f"<{key}>") == "<[hidden]>"


def test_short_values_are_not_hidden() -> None:
    assert Masker(["", "true", "12345"]).mask_text("true 12345") == "true 12345"


def test_a_stream_without_secrets_is_not_changed() -> None:
    masker = Masker([])
    assert masker.mask(b"as it\xff came\x00") == b"as it\xff came\x00"
    assert masker.flush() == b""


def test_secrets_that_overlap_or_contain_each_other_are_hidden_whole() -> None:
    masker = Masker(["secret", "secret-long", "long-tail"])
    assert masker.mask_text("secret-long-tail") == "[hidden]"
    assert masker.mask_text("secret-lone secretsecret") == "[hidden]-lone [hidden][hidden]"


def test_output_is_held_back_only_while_it_may_be_a_secret() -> None:
    masker = Masker(["hunter2hunter3"])
    assert masker.mask(b"password: ") == b"password: "
    assert masker.mask(b"x hunter2h") == b"x "
    assert masker.mask(b"at") == b"hunter2hat"
    assert masker.mask(b"hunter2hunter3") == b"[hidden]"
    assert masker.mask(b"hunter") == b""
    assert masker.flush() == b"hunter"
    assert masker.flush() == b""


def test_masking_a_whole_text_does_not_affect_the_stream() -> None:
    masker = Masker(["correct horse"])
    assert masker.mask(b"correct") == b""
    assert masker.mask_text("correct horse") == "[hidden]"
    assert masker.mask(b" horse") == b"[hidden]"


def test_a_secret_that_is_not_utf_8_is_hidden() -> None:
    assert Masker(["s\udcffcret!"]).mask_text("<s\udcffcret!> \ud800") == "<[hidden]> \ud800"


def test_a_stream_of_only_secrets_takes_bounded_time() -> None:
    masker = Masker(["x" * 6])
    began = time.monotonic()
    shown = b"".join(masker.mask(b"x" * 65536) for _ in range(20)) + masker.flush()
    assert shown == b"[hidden]"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tab\tand\nnewline stay, ü and 🚀 too", "tab\tand\nnewline stay, ü and 🚀 too"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("50%\r100%\x07\x00", "50%\\x0d100%\\x07\\x00"),
        ("\x7f\x9b1m", "\\x7f\\x9b1m"),
        ("access\u202egnp.exe\u2066\u2069", "access\\u202egnp.exe\\u2066\\u2069"),
        ("\u200e\u200f\u061c\u2028", "\\u200e\\u200f\\u061c\\u2028"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert escape_controls(text) == shown
