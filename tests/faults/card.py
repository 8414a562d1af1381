"""A memory card for a test: an ext4 in a file, which can become slow, stall, and turn read-only. Needs root."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SIZE = 64 << 20
BLKIO = Path("/sys/fs/cgroup/blkio")
"""Version 1, whose limits hold for the process that syncs."""


class Card:
    """Mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        """Make it and mount it; skips, by a clear word, where that is not possible."""
        self.folder = folder
        self._image = folder.with_suffix(".img")
        self._group: Path | None = None
        folder.mkdir(exist_ok=True)
        with self._image.open("wb") as file:
            file.truncate(SIZE)
        try:
            self._run("mkfs.ext4", "-q", str(self._image))
            self._mount()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no ext4 can be mounted here: {error}")

    def _mount(self) -> None:
        """On a device that is made for it: `mount -o loop` would take the old one again, with what happened to it."""
        device = self._run("losetup", "--find", "--show", str(self._image))
        try:
            self._run("mount", "-o", "errors=remount-ro", device, str(self.folder))
        finally:
            self._run("losetup", "--detach", device)  # once nobody has it any more

    @staticmethod
    def _run(*words: str) -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    @property
    def _device(self) -> str:
        number = os.stat(self.folder).st_dev
        return f"{os.major(number)}:{os.minor(number)}"

    # --- it protects itself -------------------------------------------------------------------------------------------

    def turns_read_only(self) -> None:
        """The kernel protects the file system as after an error of the card; only a new mount ends that."""
        name = Path(f"/sys/dev/block/{self._device}").resolve().name
        trigger = Path("/sys/fs/ext4") / name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel cannot be told that a card has failed")
        trigger.write_text("1")

    def is_mounted_anew(self) -> None:
        """Checked and mounted at the same place, beside whoever still has files of the old mount open."""
        self._run("umount", "-l", str(self.folder))
        checked = subprocess.run(["e2fsck", "-fy", str(self._image)], check=False, capture_output=True)
        assert checked.returncode < 4, checked.stdout
        self._mount()

    # --- it is slow ---------------------------------------------------------------------------------------------------

    def slows(self, pid: int, bytes_a_second: int) -> None:
        """Whatever the process writes and reads there."""
        self._group = BLKIO / f"edge-card-{os.getpid()}"
        try:
            self._group.mkdir(exist_ok=True)
            for way in ("write", "read"):
                (self._group / f"blkio.throttle.{way}_bps_device").write_text(f"{self._device} {bytes_a_second}")
            (self._group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            pytest.skip(f"no card can be slowed down here: {error}")

    def stalls(self, seconds: float) -> None:
        """Nothing is written for a while: every sync waits."""
        self._run("fsfreeze", "--freeze", str(self.folder))
        try:
            time.sleep(seconds)
        finally:
            self._run("fsfreeze", "--unfreeze", str(self.folder))

    def close(self) -> None:
        """Leave nothing behind; the slowed process has ended."""
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)
        if self._group is not None and self._group.is_dir():
            self._group.rmdir()


@contextmanager
def card(folder: Path) -> Iterator[Card]:
    """At `folder`, for a while."""
    made = Card(folder)
    try:
        yield made
    finally:
        made.close()
