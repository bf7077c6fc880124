"""What one check found out, and what a person does about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from deployctl.errors import DeployctlError, GitError, in_words

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line for people; ``fix`` is a command, or says what to do, None where all is well.

    ``repo`` is None for what concerns the whole machine.
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
    return Finding(check, "ok", message)


def warn(check: str, message: str, fix: str | None) -> Finding:
    return Finding(check, "warn", message, fix)


def fail(check: str, message: str, fix: str | None) -> Finding:
    return Finding(check, "fail", message, fix)


def advised(text: str) -> tuple[str, str | None]:
    """A sentence of ours -> what is wrong, and what to do about it.

    They end in advice, behind the first semicolon or else behind the last colon.
    """
    what, _, advice = text.partition("; ") if "; " in text else text.rpartition(": ")
    return (what, advice) if what and advice else (text, None)


def findings_of(
    check: str, repo: str | None, look: Callable[[], Iterable[Finding]]
) -> list[Finding]:
    """What one check finds; one that cannot be carried out is a finding itself."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except GitError as error:
        # Behind its last colon stand git's own words.
        what, _, advice = str(error).partition("; ")
        found.append(fail(check, what, advice or None))
    except DeployctlError as error:
        found.append(fail(check, *advised(str(error))))
    except (OSError, sqlite3.Error) as error:
        found.append(fail(check, in_words(error), None))
    except Exception as bug:  # noqa: BLE001 - one check that breaks must not hide the others
        what = f"the check itself broke: {type(bug).__name__}: {bug}"
        found.append(fail(check, what, "report this as a bug in deployctl"))
    return [replace(finding, repo=repo) for finding in found]
