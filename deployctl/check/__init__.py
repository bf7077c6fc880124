"""Find what would prevent a deployment from succeeding, without changing anything.

Each check is a function that yields findings about the machine or about one repo, and no check
depends on another one. :func:`deployctl.check.examine.examine` runs them all.
"""
