"""A file system in memory that forgets at a power cut what was not synced, and tears what was under way.

`python -m tests.faults.powercut MOUNTPOINT DUMPS` mounts it. Making the file `.cut-N` writes to DUMPS/N what a disk
would hold had the power gone at that moment: of every write since the last sync, some sectors, chosen by N.
"""

from __future__ import annotations

import errno
import os
import random
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mfusepy  # type: ignore[import-untyped]  # ships no types

from tests.faults.forgetful import File

CUT = "/.cut-"
READ_ONLY, WRITABLE = "/.read-only", "/.writable"
"""Making one of these files makes the disk so, as a card that protects itself does."""
BROKEN, MENDED = "/.broken", "/.mended"
"""While it is broken nothing can be opened, read, written or synced: EIO."""
SLOW = "/.slow-"
"""Making the file `.slow-N` makes every sync take N ms, and everything else wait meanwhile, as a worn card does."""


class PowerCut(mfusepy.Operations):  # type: ignore[misc]  # mfusepy's base is untyped
    """One flat folder."""

    use_ns = True

    def __init__(self, dumps: Path) -> None:
        """No file yet."""
        self._dumps = dumps
        self._files: dict[str, File] = {}
        self._read_only = False
        self._sync_s = 0.0
        self._broken = False

    def _touches(self) -> None:
        if self._broken:
            raise mfusepy.FuseOSError(errno.EIO)

    def _changes(self) -> None:
        self._touches()
        if self._read_only:
            raise mfusepy.FuseOSError(errno.EROFS)

    def _file(self, path: str) -> File:
        try:
            return self._files[path]
        except KeyError:
            raise mfusepy.FuseOSError(errno.ENOENT) from None

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """Size and kind."""
        now = time.time_ns()
        times = {"st_atime": now, "st_mtime": now, "st_ctime": now, "st_uid": os.getuid(), "st_gid": os.getgid()}
        if path == "/":
            return {**times, "st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        return {**times, "st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": len(self._file(path).seen)}

    def readdir(self, path: str, fh: int) -> Iterable[str]:
        """All names."""
        return [".", "..", *(name[1:] for name in self._files)]

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        """A new file, or a cut."""
        if path.startswith(CUT):
            self._cut(int(path.removeprefix(CUT)))
            raise mfusepy.FuseOSError(errno.EEXIST)
        if path.startswith(SLOW):
            self._sync_s = int(path.removeprefix(SLOW)) / 1000
            raise mfusepy.FuseOSError(errno.EEXIST)
        if path in (BROKEN, MENDED):
            self._broken = path == BROKEN
            raise mfusepy.FuseOSError(errno.EEXIST)
        if path in (READ_ONLY, WRITABLE):
            self._read_only = path == READ_ONLY
            raise mfusepy.FuseOSError(errno.EEXIST)
        self._changes()
        self._files[path] = File()
        return 0

    def open(self, path: str, flags: int) -> int:
        """One that is there."""
        self._touches()
        self._file(path)
        if flags & (os.O_WRONLY | os.O_RDWR):
            self._changes()
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """As programs see it."""
        self._touches()
        return bytes(self._file(path).seen[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Into the cache."""
        self._changes()
        self._file(path).write(bytes(data), offset)
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Into the cache."""
        self._changes()
        self._file(path).truncate(length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """To the disk."""
        self._touches()
        time.sleep(self._sync_s)
        self._file(path).sync()
        return 0

    def unlink(self, path: str) -> int:
        """At once on the disk: the harder case for a journal."""
        self._changes()
        del self._files[path]
        return 0

    def rename(self, old: str, new: str) -> int:
        """At once on the disk."""
        self._files[new] = self._files.pop(old)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        """Not kept."""
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Not kept."""
        return 0

    def _cut(self, seed: int) -> None:
        chance = random.Random(seed)
        folder = self._dumps / str(seed)
        folder.mkdir()
        for name, file in sorted(self._files.items()):
            content = file.after_a_cut(chance)
            if content is not None and not name.endswith("-shm"):
                (folder / name[1:]).write_bytes(content)


if __name__ == "__main__":
    mfusepy.FUSE(PowerCut(Path(sys.argv[2])), sys.argv[1], foreground=True, nothreads=True)
