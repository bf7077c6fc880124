"""The command ``deployctl docs``."""

from __future__ import annotations

import click

from deployctl.cli import text
from deployctl.cli.session import answer, bare_options
from deployctl.manual import topics


@click.command("docs")
@click.argument("topic", required=False)
@bare_options
def command(topic: str | None, config: str | None, as_json: bool) -> int:  # noqa: ARG001
    """Print one topic of the manual, or the list of topics.

    Works without a repos.yml.
    """
    if topic is not None:
        manual = topics.read(topic)
        answer({"topic": topic, "text": manual}, manual.rstrip("\n"), as_json=as_json)
        return 0
    titles = topics.topics()
    document = {"topics": [{"topic": name, "title": title} for name, title in titles.items()]}
    lines = text.table([*titles.items()], text.terminal_columns())
    answer(document, "\n".join([*lines, "read one with: deployctl docs TOPIC"]), as_json=as_json)
    return 0
