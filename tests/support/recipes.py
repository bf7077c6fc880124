"""Read the manual's recipes, for tests that try them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from deployctl.manual import topics


def blocks(title: str, language: str) -> list[str]:
    """Return the code blocks in this language of the section whose title begins with ``title``."""
    (section,) = re.findall(rf"(?ms)^## {re.escape(title)}.*?(?=^## |\Z)", topics.read("recipes"))
    return re.findall(rf"(?ms)^```{re.escape(language)}\n(.*?)^```$", section)


def block(title: str, language: str, replacements: Mapping[str, str], number: int = 0) -> str:
    """Return one of these blocks, the first or that of this index, with these replacements.

    It fails where the block does not contain one of the texts to replace.
    """
    text = blocks(title, language)[number]
    for shown, real in replacements.items():
        assert shown in text, f"the block {language} of {title} does not name {shown}"
        text = text.replace(shown, real)
    return text


def repo(
    title: str, replacements: Mapping[str, str], number: int = 0
) -> tuple[str, dict[str, Any]]:
    """Return name and keys of the repo in a recipe's YAML block.

    Keys that each test sets itself are left out: url, path, full_name, webhook_secret.
    """
    ((name, keys),) = yaml.safe_load(block(title, "yaml", replacements, number))["repos"].items()
    set_by_tests = ("url", "path", "full_name", "webhook_secret")
    return name, {key: value for key, value in keys.items() if key not in set_by_tests}
