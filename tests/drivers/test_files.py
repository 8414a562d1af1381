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


def test_new_file_is_for_us_alone(tmp_path: Path) -> None:
    """It may hold a password."""
    before = os.umask(0)
    try:
        files.replace(tmp_path / "candidate.yaml", b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "candidate.yaml").stat().st_mode & 0o777 == 0o600


def test_content_is_synced_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut leaves the old one or the new one; a disk that takes nothing leaves the old one."""
    path = tmp_path / "counters.json"
    path.write_bytes(b"old")
    path.chmod(0o600)

    def failing(handle: int) -> None:
        assert Path(f"/proc/self/fd/{handle}").read_bytes() == b"new"
        assert os.fstat(handle).st_mode & 0o777 == 0o600
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["counters.json"]


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"B\xc3\xacnh": "\xe1\xbb"}', b"[]"])
def test_damaged_file_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes) -> None:
    """Also where a letter was torn; the log says which file."""
    path = tmp_path / "counters.json"
    path.write_bytes(damage)
    assert files.read(path, dict[str, str]) is None
    assert str(path) in caplog.text
    assert files.read(tmp_path / "missing.json", dict[str, str]) is None
    assert "missing" not in caplog.text
