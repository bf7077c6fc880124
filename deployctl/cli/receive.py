"""The command ``deployctl receive``."""

from __future__ import annotations

import click

from deployctl.webhook import cgi, inetd


@click.command("receive")
@click.option("--inetd", "is_raw", is_flag=True, help="Speak HTTP on stdin and stdout, not CGI.")
@click.option("-c", "--config", metavar="FILE", help="The repos.yml to use.")
def command(config: str | None, is_raw: bool) -> None:
    """Answer one webhook request, as deploy.cgi does.

    Reads a CGI/1.1 environment and the body on stdin, and writes the response to stdout. With
    --inetd (for inetd, xinetd and systemd sockets), request and response are plain HTTP/1.1.
    """
    main = inetd.main if is_raw else cgi.main
    main(config or click.get_current_context().meta.get("deployctl.config"))
