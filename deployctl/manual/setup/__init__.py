"""Ready configuration for the programs that start deployctl, filled in for this installation.

One module for each kind; :func:`deployctl.manual.setup.topics.text` is all that others need.
"""
