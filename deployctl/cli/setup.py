"""``deployctl setup``."""

from __future__ import annotations

import click

from deployctl.cli import text
from deployctl.cli.session import answer, as_owner, bare_options
from deployctl.config.load import load
from deployctl.config.locate import find_config
from deployctl.manual.setup import topics


@click.command("setup")
@click.argument("topic", required=False)
@bare_options
def command(topic: str | None, config: str | None, as_json: bool) -> int:
    """Print ready configuration for systemd, cron, nginx, inetd.

    Filled in with the paths of this installation; run it as the account that is to deploy.
    Nothing is changed. Without a topic, a list of them.
    """
    if topic is not None:
        loaded = load(find_config(config))
        with as_owner(loaded):
            found = topics.text(topic, loaded)
        answer({"topic": topic, "text": found}, found.rstrip("\n"), as_json=as_json)
        return 0
    uses = topics.topics()
    document = {"topics": [{"topic": name, "use": use} for name, use in uses.items()]}
    lines = text.table([*uses.items()], text.width())
    answer(document, "\n".join([*lines, "print one with: deployctl setup TOPIC"]), as_json=as_json)
    return 0
