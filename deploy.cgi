#!/usr/bin/env python3
"""Answer one delivery; started by a web server (CGI) or by inetd, xinetd or systemd."""

import gc
import os

gc.disable()  # the process ends before there is garbage to collect

from deployctl.webhook.cgi import is_cgi

if is_cgi(os.environ):
    from deployctl.webhook.cgi import main
else:
    from deployctl.webhook.inetd import main

main()
