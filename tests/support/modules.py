"""Import all modules of deployctl once, in a process that forks others."""

from __future__ import annotations

import gc
import importlib
import pkgutil

import deployctl


def import_all() -> None:
    """Import them, with what they import, and keep the objects out of garbage collection.

    A collection in a forked process would write to the memory that it shares with its parent.
    """
    for module in pkgutil.walk_packages(deployctl.__path__, "deployctl."):
        importlib.import_module(module.name)
    gc.freeze()
