"""The findings of checks: what is right or wrong, and what a person can do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from deployctl.errors import DeployctlError, GitError, in_words

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One result of a check, in words for people.

    ``check`` is the name of the check. ``fix`` is a command or says what to do; None where nothing
    is to be done or no advice is known. ``repo`` is None for what concerns the whole machine.
    """

    check: str
    level: Level
    message: str
    fix: str | None = None
    repo: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "repo": self.repo,
            "level": self.level,
            "message": self.message,
            "fix": self.fix,
        }


def ok(check: str, message: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, "ok", message)


def warn(check: str, message: str, fix: str | None) -> Finding:
    """Return a finding that a person should consider; deployments work all the same."""
    return Finding(check, "warn", message, fix)


def fail(check: str, message: str, fix: str | None) -> Finding:
    """Return a finding that prevents deployments from working."""
    return Finding(check, "fail", message, fix)


def split_advice(text: str) -> tuple[str, str | None]:
    """Split an error message of deployctl into what is wrong and what to do (None: no advice).

    The advice comes after the first semicolon or, without one, after the last colon.
    """
    what, _, advice = text.partition("; ") if "; " in text else text.rpartition(": ")
    return (what, advice) if what and advice else (text, None)


def findings_of(
    check: str, repo: str | None, run: Callable[[], Iterable[Finding]]
) -> list[Finding]:
    """Run a check and return its findings; an exception that it raises becomes one of them."""
    found: list[Finding] = []
    try:
        found.extend(run())
    except GitError as error:
        # After its last colon come git's own words and no advice.
        what, _, advice = str(error).partition("; ")
        found.append(fail(check, what, advice or None))
    except DeployctlError as error:
        found.append(fail(check, *split_advice(str(error))))
    except (OSError, sqlite3.Error) as error:
        found.append(fail(check, in_words(error), None))
    except Exception as bug:  # noqa: BLE001 - one check that breaks must not hide the others
        what = f"the check itself broke: {type(bug).__name__}: {bug}"
        found.append(fail(check, what, "report this as a bug in deployctl"))
    return [replace(finding, repo=repo) for finding in found]
