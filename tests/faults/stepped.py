"""The agent with a wall clock that a test can set while it runs: `python -m tests.faults.stepped FILE run -c …`.

FILE holds the milliseconds by which the clock is off, as eight bytes. The wall clock alone is moved, as settimeofday(2)
does it.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

from edge_agent.__main__ import main

_OFF = struct.Struct("<q")


def set_clock(file: Path, off_ms: int) -> None:
    """From now on the clock is off by so much."""
    with file.open("r+b" if file.exists() else "w+b") as written:
        written.write(_OFF.pack(off_ms))


def _step(file: Path) -> None:
    """Make Python's wall clock go by FILE."""
    right = time.time_ns
    with file.open("rb") as opened:
        off = mmap.mmap(opened.fileno(), _OFF.size, access=mmap.ACCESS_READ)

    def time_ns() -> int:
        return right() + 1_000_000 * int(_OFF.unpack_from(off)[0])

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


if __name__ == "__main__":
    _step(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
