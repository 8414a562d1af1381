"""What a reading costs the card: bytes that the journal sends to the disk, against rows of readings in SQLite.

Counted by the kernel for this process alone (proc(5), io: write_bytes). The file system's own journal is not in it; it
grows with the number of commits, so the true ratio to a commit per reading is better still. A tmpfs shows nothing.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from bench import ward
from bench.backlog import fill, polls
from bench.command import main
from bench.machine import bytes_written
from bench.running import folder
from bench.table import Result
from bench.ward import Ward
from drivers.profile import Profile

LOAD = Ward(registers=10)
SECOND = 200
"""Readings of one second, and so of one commit."""
PLENTY = 60_000
FEW = 2_000
"""Readings: a commit for each takes its time."""


def rows(path: Path, profile: Profile, readings: int, per_commit: int) -> None:
    """A row per reading, `per_commit` rows in a transaction, as safe as the journal."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE readings(id INTEGER PRIMARY KEY AUTOINCREMENT, point TEXT, time INTEGER, value REAL)")
    waiting = _single(profile, readings)
    while some := list(islice(waiting, per_commit)):
        db.execute("BEGIN")
        db.executemany("INSERT INTO readings(point, time, value) VALUES (?, ?, ?)", some)
        db.execute("COMMIT")
    db.close()


def _single(profile: Profile, readings: int) -> Iterator[tuple[str, int, object]]:
    for poll in polls(LOAD, profile, readings // LOAD.registers):
        for some in poll:
            for reading in some:
                yield reading.point, reading.time, reading.value


def cost(write: Callable[[Path], None], readings: int) -> float:
    """Bytes per reading that reach the disk when `write` makes a new file of `readings`."""
    with folder() as path:
        before = bytes_written(os.getpid())
        write(path / "journal.db")
        written = bytes_written(os.getpid()) - before
    if not written:
        raise RuntimeError("the temporary folder is not on a disk: set TMPDIR")
    return written / readings


def benchmark(quick: bool) -> list[Result]:
    """The journal and both kinds of rows in turn. Byte counts hardly vary, so few runs do."""
    plenty = PLENTY // 3 if quick else PLENTY
    blobs, single, grouped = list[float](), list[float](), list[float]()
    with folder() as path:
        profile = ward.write_profile(path / "devices", LOAD.registers)
        for _ in range(1 if quick else 3):
            blobs.append(cost(lambda file: fill(file, LOAD, profile, plenty, SECOND), plenty))
            single.append(cost(lambda file: rows(file, profile, FEW, 1), FEW))
            grouped.append(cost(lambda file: rows(file, profile, plenty, SECOND), plenty))
    shares = tuple(blob / row for blob, row in zip(blobs, single, strict=True))
    return [
        Result("journal: bytes to disk per reading, 200 a second", tuple(blobs), "B"),
        Result("  share of a row and commit per reading", shares, "", 0.2),
        Result("  a row and a commit per reading", tuple(single), "B"),
        Result("  a row per reading, a commit a second", tuple(grouped), "B"),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
