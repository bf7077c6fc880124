"""The parts of the standard library in C: they do what their packages do."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from typing import Any

import pytest

from deployctl.system import lean
from tests.support.paths import ROOT

VALUES: list[Any] = [
    {"a": [1, -2.5, 1e300, None, True, False, 'é\n"\\\x00\u2028', {}], "b": {"c": []}},
    [],
    "text",
    0,
    None,
]


@pytest.mark.parametrize("value", VALUES)
def test_what_is_written_is_what_json_reads_and_the_other_way_round(value: Any) -> None:
    assert json.loads(lean.to_json(value)) == value
    assert lean.JsonReader().read(f" \n{json.dumps(value)}\t") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[1",
        "nul",
        "[1] 2",
        "{'a': 1}",
        '{"a": 1,}',
        '"\x01"',
        "NaN",
        "-Infinity",
        "\ufeff1",
    ],
)
def test_what_is_not_json_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        lean.JsonReader().read(text)


def test_too_deep_a_text_ends_the_same_way_as_with_json() -> None:
    with pytest.raises(RecursionError):
        lean.JsonReader().read("[" * 100_000)


def test_objects_and_numbers_become_what_the_reader_says() -> None:
    reader = lean.JsonReader(pairs=lambda pairs: pairs, integer=str, number=lambda text: text + "!")
    assert reader.read('{"a": 1, "a": 2.5}') == [("a", "1"), ("a", "2.5!")]


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 1000])
def test_an_hmac_is_that_of_the_library(length: int, algorithm: str) -> None:
    key, message = b"k" * length, b"what do ya want for nothing?"
    assert lean.hmac(key, message, algorithm) == hmac.digest(key, message, algorithm)


def test_the_known_answer_of_rfc_4231_comes_out() -> None:
    digest = lean.hmac(b"Jefe", b"what do ya want for nothing?").hex()
    assert digest == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_a_hash_is_that_of_the_library() -> None:
    assert lean.sha256(b"abc").hexdigest() == hashlib.sha256(b"abc").hexdigest()


def test_equal_bytes_are_equal_and_others_are_not() -> None:
    assert lean.compare(b"abc", b"abc")
    assert not lean.compare(b"abc", b"abd")


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("_json", "_sha1", "_sha2", "_sha256")))
from deployctl.system import lean
print(lean.JsonReader().read('{"a": [1]}'), lean.quote("x"), lean.sha256(b"").hexdigest()[:8])
"""


def test_an_interpreter_without_those_parts_has_the_packages() -> None:
    """As one where json, the hashes and their like are written in Python."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("{'a': [1]} \"x\" e3b0c442\n", "")


def test_it_imports_none_of_the_packages() -> None:
    code = "import sys; from deployctl.system import lean; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"json", "sqlite3", "hmac", "hashlib", "signal", "re", "enum", "datetime"}
    assert not heavy & set(done.stdout.split())
