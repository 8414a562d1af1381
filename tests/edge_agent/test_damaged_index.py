"""A damaged page of any table or index is found when the journal is opened, and costs no start."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.journal import Journal
from edge_agent.schema import PAGE
from edge_agent.store import Store

INDEXES = ("sqlite_autoindex_boots_1", "sqlite_autoindex_quarantine_1", "quarantine_blob")
TABLES = ("meta", "boots", "blobs", "sqlite_sequence", "sinks", "ledger", "quarantine", "holes")


def store(folder: Path) -> Store:
    return Store(folder / "journal.db", "cl-02", "boot-1", 64 << 20)


@pytest.mark.parametrize("name", [*TABLES, *INDEXES])
def test_agent_starts_with_a_damaged_root_page(tmp_path: Path, name: str) -> None:
    """Whatever a start asks of the file: what is asked first finds the damage, and the file is set aside."""
    store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db, db:
        db.executemany(
            "INSERT INTO quarantine(sink, blob, sequence, device, measurement, hour, line, words, at_ms)"
            " VALUES ('centre', ?1, ?1, 'met-1', 'weather', 1, 'weather,sensor=met-1 x=1 1', 'no', 1)",
            [(n,) for n in range(3000)],
        )
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchall()
    with (tmp_path / "journal.db").open("r+b") as file:
        file.seek((root - 1) * PAGE)
        file.write(b"\xa5" * 64)

    async def start() -> None:
        journal = Journal(store(tmp_path), {"centre": ()}, window=0.01, keep_days=30)
        assert set(journal.states) == {"centre"}
        await journal.close()

    asyncio.run(start())
