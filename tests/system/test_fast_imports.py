"""Tests that fast_imports behaves like json, hmac and hashlib, and does not import them."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from typing import Any

import pytest

from deployctl.system import fast_imports
from tests.support.paths import ROOT

VALUES: list[Any] = [
    {"a": [1, -2.5, 1e300, None, True, False, 'é\n"\\\x00\u2028', {}], "b": {"c": []}},
    [],
    "text",
    0,
    None,
]


@pytest.mark.parametrize("value", VALUES)
def test_json_reads_what_to_json_writes_and_the_reader_reads_what_json_writes(value: Any) -> None:
    assert json.loads(fast_imports.to_json(value)) == value
    assert fast_imports.JsonReader().read(f" \n{json.dumps(value)}\t") == value


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
def test_a_text_that_is_not_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        fast_imports.JsonReader().read(text)


def test_a_text_nested_too_deeply_is_a_recursion_error_as_with_json() -> None:
    with pytest.raises(RecursionError):
        fast_imports.JsonReader().read("[" * 100_000)


def test_the_functions_of_the_reader_make_the_values_of_objects_and_numbers() -> None:
    reader = fast_imports.JsonReader(
        pairs=lambda pairs: pairs, integer=str, number=lambda text: text + "!"
    )
    assert reader.read('{"a": 1, "a": 2.5}') == [("a", "1"), ("a", "2.5!")]


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 1000])
def test_an_hmac_equals_that_of_the_standard_library(length: int, algorithm: str) -> None:
    key, message = b"k" * length, b"what do ya want for nothing?"
    assert fast_imports.hmac(key, message, algorithm) == hmac.digest(key, message, algorithm)


def test_an_hmac_equals_the_test_vector_of_rfc_4231() -> None:
    digest = fast_imports.hmac(b"Jefe", b"what do ya want for nothing?").hex()
    assert digest == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_a_hash_equals_that_of_the_standard_library() -> None:
    assert fast_imports.sha256(b"abc").hexdigest() == hashlib.sha256(b"abc").hexdigest()


def test_compare_tells_equal_bytes_from_different_ones() -> None:
    assert fast_imports.compare(b"abc", b"abc")
    assert not fast_imports.compare(b"abc", b"abd")


WITHOUT_C_MODULES = """
import sys
sys.modules.update(dict.fromkeys(("_json", "_sha1", "_sha2", "_sha256")))
from deployctl.system import fast_imports
found = fast_imports.JsonReader().read('{"a": [1]}')
print(found, fast_imports.quote("x"), fast_imports.sha256(b"").hexdigest()[:8])
"""


def test_without_the_parts_in_c_the_whole_packages_are_used() -> None:
    """In some interpreters json, the hashes and others are written in Python only."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_C_MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{'a': [1]} \"x\" e3b0c442\n", "")


def test_importing_lean_imports_none_of_the_heavy_packages() -> None:
    code = "import sys; from deployctl.system import fast_imports; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"json", "sqlite3", "hmac", "hashlib", "signal", "re", "enum", "datetime"}
    assert not heavy & set(done.stdout.split())
