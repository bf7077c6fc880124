"""repos.yml -> frozen values, or every complaint with its line.

Import ``deployctl.config.load`` (needs PyYAML) or, on the webhook's way,
``deployctl.config.compiled`` and ``deployctl.config.locate``; this file stays empty for the latter.
"""
