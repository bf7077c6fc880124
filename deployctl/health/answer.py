"""What one try of a health check brought."""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.system.process import Outcome


@dataclass(frozen=True)
class Answer:
    """``message`` goes on after the URL or the command; ``outcome`` is that of a command.

    ``tail`` is the end of a command's output, as :class:`Outcome` has it, or the beginning of an
    answer's body.
    """

    ok: bool
    message: str
    tail: str = ""
    outcome: Outcome | None = None
