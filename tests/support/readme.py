"""The README: its text, its blocks of shell commands, and the configuration that it shows."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.support.paths import README

TEXT = README.read_text()
# The two commands, the setup, the first deployment, and a command over ssh.
TRY, TEST, SETUP, DEPLOY, FROM_ELSEWHERE = re.findall(r"(?ms)^```sh\n(.*?)^```$", TEXT)


def snippet(language: str, replacements: Mapping[str, str]) -> str:
    """Return the README's only code block in this language, with these replacements.

    It fails where the block does not contain one of the texts to replace.
    """
    (text,) = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", TEXT, re.M | re.S)
    for shown, real in replacements.items():
        assert shown in text, f"the block {language} of the README does not name {shown}"
        text = text.replace(shown, real)
    return str(text)
