"""``deployctl docs``."""

from __future__ import annotations

import click

from deployctl.cli import text
from deployctl.cli.session import answer, bare_options
from deployctl.manual import topics


@click.command("docs")
@click.argument("topic", required=False)
@bare_options
def command(topic: str | None, config: str | None, as_json: bool) -> int:  # noqa: ARG001 - of all
    """Read the manual: the list of its topics, or one of them.

    Works without any repos.yml.
    """
    if topic is not None:
        found = topics.read(topic)
        answer({"topic": topic, "text": found}, found.rstrip("\n"), as_json=as_json)
        return 0
    titles = topics.topics()
    document = {"topics": [{"topic": name, "title": title} for name, title in titles.items()]}
    lines = text.table([*titles.items()], text.width())
    answer(document, "\n".join([*lines, "read one with: deployctl docs TOPIC"]), as_json=as_json)
    return 0
