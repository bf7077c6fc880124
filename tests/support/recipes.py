"""What the manual's recipes show, for tests that try it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from deployctl.manual import topics


def blocks(title: str, language: str) -> list[str]:
    """The blocks in this language of the section whose title begins so."""
    (section,) = re.findall(rf"(?ms)^## {re.escape(title)}.*?(?=^## |\Z)", topics.read("recipes"))
    return re.findall(rf"(?ms)^```{re.escape(language)}\n(.*?)^```$", section)


def block(title: str, language: str, places: Mapping[str, str], number: int = 0) -> str:
    """One of them, each of the ``places`` in it replaced."""
    text = blocks(title, language)[number]
    for shown, real in places.items():
        assert shown in text, f"the block {language} of {title} does not name {shown}"
        text = text.replace(shown, real)
    return text


def repo(title: str, places: Mapping[str, str], number: int = 0) -> tuple[str, dict[str, Any]]:
    """The name and the keys of its repo, but for those that say where it comes from."""
    ((name, keys),) = yaml.safe_load(block(title, "yaml", places, number))["repos"].items()
    elsewhere = ("url", "path", "full_name", "webhook_secret")
    return name, {key: value for key, value in keys.items() if key not in elsewhere}
