"""Why the disk takes nothing: it is full, it is read-only, or something else is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Cause = Literal["full", "readonly", "other"]

TROUBLES: dict[Cause, str] = {"full": "disk_full", "readonly": "disk_read_only", "other": "journal_failing"}
"""What each is called as a trouble; with each of them nothing can be kept."""
LEAST_FREE = 64 << 10
"""Bytes without which SQLite cannot even open its log."""
_FULL, _READ_ONLY = ("full", "No space left"), ("readonly", "read-only", "Read-only")
"""What SQLite and the kernel say."""


def cause(error: str, folder: Path) -> Cause:
    """By what a write failed with; where that says nothing ("unable to open database file"), by the disk itself."""
    if any(word in error for word in _FULL):
        return "full"
    if any(word in error for word in _READ_ONLY):
        return "readonly"
    try:
        disk = os.statvfs(folder)
    except OSError:
        return "other"
    if disk.f_flag & os.ST_RDONLY:
        return "readonly"
    return "full" if disk.f_blocks and disk.f_bavail * disk.f_frsize < LEAST_FREE else "other"
