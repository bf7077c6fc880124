"""What the README shows, for tests that try it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.support.paths import README


def snippet(language: str, places: Mapping[str, str]) -> str:
    """The README's one block in this language, each of the ``places`` in it replaced."""
    (text,) = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", README.read_text(), re.M | re.S)
    for shown, real in places.items():
        assert shown in text, f"the block {language} of the README does not name {shown}"
        text = text.replace(shown, real)
    return str(text)
