"""The option ``--config`` before the name of a command (``deployctl -c FILE status``)."""

from __future__ import annotations

import click


def _store_config(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta["deployctl.config"] = value


group_config_option = click.option(
    "-c",
    "--config",
    metavar="FILE",
    expose_value=False,
    callback=_store_config,
    help="The repos.yml to use.",
)
