"""The command ``deployctl check``."""

from __future__ import annotations

import click

from deployctl.check.examine import examine
from deployctl.cli import text
from deployctl.cli.session import answer, bare_options


@click.command("check")
@click.argument("repo", required=False)
@bare_options
def command(repo: str | None, config: str | None, as_json: bool) -> int:
    """Look for problems that would stop deployments from working.

    Examines config, permissions, disk, git access, programs, health and webhooks, and prints how
    to fix each problem. Changes nothing. Exits with 1 if a problem must be fixed.
    """
    findings = examine(config, repo)
    good = all(finding.level != "fail" for finding in findings)
    document = {"ok": good, "findings": [finding.to_json() for finding in findings]}
    answer(
        document, "\n".join(text.finding_lines(findings, text.terminal_columns())), as_json=as_json
    )
    return int(not good)
