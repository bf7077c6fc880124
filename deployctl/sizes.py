"""Amounts of bytes as people read them."""

from __future__ import annotations

KB = 1024
MB = 1024 * KB
GB = 1024 * MB


def in_bytes(count: int) -> str:
    """``1.5 GB``, ``200 MB``, ``12 KB``."""
    if count >= GB:
        return f"{count / GB:.1f} GB"
    return f"{count // MB} MB" if count >= MB else f"{count // KB} KB"
