"""What groups of commands share: ``--config`` may stand before the name of the command too."""

from __future__ import annotations

import click


def _remember(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta["deployctl.config"] = value


group_config_option = click.option(
    "-c",
    "--config",
    metavar="FILE",
    expose_value=False,
    callback=_remember,
    help="The repos.yml to use.",
)
