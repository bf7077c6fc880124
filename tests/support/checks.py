"""What the doctor found, by its names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deployctl.check.finding import Finding


def about(document: dict[str, Any], check: str, repo: str | None = None) -> list[dict[str, Any]]:
    """The findings of one check, of the machine or of one repo."""
    return [
        {name: each[name] for name in ("level", "message", "fix")}
        for each in document["findings"]
        if (each["check"], each["repo"]) == (check, repo)
    ]


def levels(findings: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def only(findings: Iterable[Finding]) -> tuple[str, str, str | None]:
    """The one finding: its level, what it says, what mends it."""
    (finding,) = findings
    return finding.level, finding.message, finding.fix
