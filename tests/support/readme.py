"""Read configuration from the README, for tests that try it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.support.paths import README


def snippet(language: str, replacements: Mapping[str, str]) -> str:
    """Return the README's only code block in this language, with these replacements.

    It fails where the block does not contain one of the texts to replace.
    """
    (text,) = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", README.read_text(), re.M | re.S)
    for shown, real in replacements.items():
        assert shown in text, f"the block {language} of the README does not name {shown}"
        text = text.replace(shown, real)
    return str(text)
