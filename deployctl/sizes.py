"""Amounts of bytes as people read them."""

from __future__ import annotations

KB = 1024
MB = 1024 * KB
GB = 1024 * MB


def as_configured(count: int) -> str:
    """As repos.yml would say it, exactly: ``1G``, ``1536M``, ``1000``."""
    for unit, letter in ((GB, "G"), (MB, "M"), (KB, "K")):
        if count % unit == 0:
            return f"{count // unit}{letter}"
    return str(count)


def in_bytes(count: int) -> str:
    """``1.5 GB``, ``200 MB``, ``12 KB``."""
    if count >= GB:
        return f"{count / GB:.1f} GB"
    return f"{count // MB} MB" if count >= MB else f"{count // KB} KB"
