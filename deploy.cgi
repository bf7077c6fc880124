#!/usr/bin/env python3
"""The webhook: what a web server (by CGI), or inetd and its like, runs for each delivery."""

import gc
import os

gc.disable()  # it ends before there would be anything to collect

from deployctl.webhook.cgi import is_cgi

if is_cgi(os.environ):
    from deployctl.webhook.cgi import main
else:
    from deployctl.webhook.inetd import main

main()
