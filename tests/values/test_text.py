"""The width of text on a terminal, and cutting text to a width."""

from __future__ import annotations

import pytest

from deployctl.values.text import columns_of, cut


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("abc", 3), ("Größe", 5), ("部署", 4), ("e\u0301", 1), ("⏳", 2)]
)
def test_wide_characters_take_two_columns_and_accents_none(text: str, columns: int) -> None:
    assert columns_of(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abcdef", None, "abcdef"),
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "ab..."),
        ("部署部署", 7, "部署..."),
        ("部署部署", 6, "部..."),
        ("x" * 1_000_000, 4, "x..."),
    ],
)
def test_text_that_is_too_wide_is_cut(text: str, columns: int | None, shown: str) -> None:
    assert cut(text, columns) == shown
