"""Choose findings of ``deployctl check``, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deployctl.check.finding import Finding


def about(document: dict[str, Any], check: str, repo: str | None = None) -> list[dict[str, Any]]:
    """Return level, message and fix of the findings of one check.

    ``document`` is what ``deployctl check --json`` printed; ``repo`` None: of the machine.
    """
    return [
        {name: finding[name] for name in ("level", "message", "fix")}
        for finding in document["findings"]
        if (finding["check"], finding["repo"]) == (check, repo)
    ]


def levels(findings: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def only(findings: Iterable[Finding]) -> tuple[str, str, str | None]:
    """Assert that there is exactly one finding; return its level, message and fix."""
    (finding,) = findings
    return finding.level, finding.message, finding.fix
