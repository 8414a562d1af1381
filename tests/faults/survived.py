"""What of a journal written by `tests.faults.writer` is there after a power cut. Runs without pytest."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import msgspec

from edge_agent.body import unpack
from edge_agent.journal_file import verify
from edge_agent.lines import parse
from edge_agent.store import Store
from tests.faults.writer import NOW

START_WITHIN = 3.0
"""Seconds in which a journal opens."""


class Survived(msgspec.Struct, frozen=True):
    """After one cut."""

    lost: int
    """Commits that had been acknowledged and are not there."""
    last: int
    """The last commit that is there."""
    opened_s: float
    is_sound: bool
    """What `edge journal verify` says, and nothing was set aside as damaged."""


def survived(folder: Path, acknowledged: int) -> Survived:
    """Look for the commits 1 to `acknowledged`; opening is quick and the file is whole."""
    file = folder / "journal.db"
    began = time.monotonic()
    store = Store(file, "cl-02", "boot-2", 64 << 20)
    opened_s = time.monotonic() - began
    assert opened_s < START_WITHIN, opened_s
    assert store.select("PRAGMA integrity_check") == [("ok",)]
    rows = store.rows(0, store.last_id, 1 << 40, 1 << 40)
    held = {(line.time - NOW) // 1000 for row in rows for line in parse(unpack(row.body))}
    store.close()
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM sinks").fetchone()[0] <= 1
    missing = set(range(1, acknowledged + 1)) - held
    assert not missing or min(missing) > acknowledged - 1000, "the middle is gone"
    is_sound = verify(file, lambda _: None).is_sound and not list(folder.glob("*damaged*"))
    return Survived(len(missing), max(held, default=0), opened_s, is_sound)
