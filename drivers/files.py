"""Small files that are replaced: after a power cut there is the old one or the new one, whole."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

log = logging.getLogger("edge.files")

T = TypeVar("T")


def replace(path: Path, content: bytes) -> None:
    """Write it anew, with the mode that it had, else for us alone. Raises OSError; then the old one is untouched."""
    new, mode = path.with_name(f".{path.name}.new"), path.stat().st_mode & 0o777 if path.exists() else 0o600
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def read(path: Path, kind: type[T]) -> T | None:
    """What stands in it as JSON; None where there is none, or it is damaged, which the log says."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # msgspec gives a ValueError of Python's own for bytes that are no text
        log.warning("file not read, begun anew file=%s error=%s", path, error)
        return None


def sync_folder(folder: Path) -> None:
    """Have what was replaced in it on the disk before going on. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
