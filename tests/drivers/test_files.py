"""Small files that are replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drivers import files


def test_file_keeps_its_mode_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """Who could not read it before cannot now."""
    path = tmp_path / "counters.json"
    path.write_bytes(b"old")
    path.chmod(0o600)
    files.replace(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert os.listdir(tmp_path) == ["counters.json"]


def test_content_is_synced_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut leaves the old one or the new one; a disk that takes nothing leaves the old one."""
    path = tmp_path / "counters.json"
    path.write_bytes(b"old")

    def failing(handle: int) -> None:
        assert Path(f"/proc/self/fd/{handle}").read_bytes() == b"new"
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        files.replace(path, b"new")
    assert path.read_bytes() == b"old"
