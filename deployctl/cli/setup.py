"""The command ``deployctl setup``."""

from __future__ import annotations

import click

from deployctl.cli import text
from deployctl.cli.session import answer, bare_options, naming_owner_command
from deployctl.config.load import load
from deployctl.config.locate import find_config
from deployctl.manual.setup import topics


@click.command("setup")
@click.argument("topic", required=False)
@bare_options
def command(topic: str | None, config: str | None, as_json: bool) -> int:
    """Print ready-made configuration for systemd, cron, nginx, inetd.

    It has the paths of this installation filled in. Run the command as the account that will run
    deployctl. It changes nothing. Without a topic it prints the list of topics.
    """
    if topic is not None:
        loaded = load(find_config(config))
        with naming_owner_command(loaded):
            configuration = topics.text(topic, loaded)
        answer({"topic": topic, "text": configuration}, configuration.rstrip("\n"), as_json=as_json)
        return 0
    uses = topics.topics()
    document = {"topics": [{"topic": name, "use": use} for name, use in uses.items()]}
    lines = text.table([*uses.items()], text.terminal_columns())
    answer(document, "\n".join([*lines, "print one with: deployctl setup TOPIC"]), as_json=as_json)
    return 0
