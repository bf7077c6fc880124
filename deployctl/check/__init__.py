"""The doctor: what would keep a deployment from working, found out without changing anything.

Each check is a function that yields findings, of the machine or of one repo, and none needs
another one to work. :func:`deployctl.check.examine.examine` asks them all.
"""
