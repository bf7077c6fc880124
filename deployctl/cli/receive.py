"""``deployctl receive``."""

from __future__ import annotations

import click

from deployctl.webhook import cgi, inetd


@click.command("receive")
@click.option("--inetd", "is_raw", is_flag=True, help="Raw HTTP on stdin and stdout.")
@click.option("-c", "--config", metavar="FILE", help="The repos.yml to use.")
def command(config: str | None, is_raw: bool) -> None:
    """Answer one webhook request: what deploy.cgi does.

    Reads a CGI/1.1 environment and the body on stdin, writes the response to stdout; with
    --inetd, for inetd, xinetd and systemd's sockets, the request and the response are HTTP/1.1.
    """
    main = inetd.main if is_raw else cgi.main
    main(config or click.get_current_context().meta.get("deployctl.config"))
