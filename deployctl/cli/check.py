"""``deployctl check``."""

from __future__ import annotations

import click

from deployctl.check.examine import examine
from deployctl.cli import text
from deployctl.cli.session import answer, bare_options


@click.command("check")
@click.argument("repo", required=False)
@bare_options
def command(repo: str | None, config: str | None, as_json: bool) -> int:
    """Look for what would keep deployments from working.

    Config, permissions, disk, git access, programs, health and webhooks: each finding comes with
    what mends it. Nothing is changed. Exits with 1 if anything has to be mended.
    """
    found = examine(config, repo)
    good = all(finding.level != "fail" for finding in found)
    document = {"ok": good, "findings": [finding.to_json() for finding in found]}
    answer(document, "\n".join(text.finding_lines(found, text.width())), as_json=as_json)
    return int(not good)
