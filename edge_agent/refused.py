"""What each sink has, and the readings that it refused: how both are saved. Part of `store.py`, in its thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from edge_agent.quarantined import Quarantined
from edge_agent.rows import Held

MOST_HELD = 10_000
"""Refused readings kept for each sink; the oldest make room."""


def save(db: sqlite3.Connection, states: Mapping[str, bytes], held: Sequence[Held], now: int) -> None:
    """Within the transaction of a commit; `now`: ms."""
    db.executemany(
        "INSERT INTO sinks VALUES (?1, ?2, 0) ON CONFLICT(id) DO UPDATE SET state = ?2", list(states.items())
    )
    db.executemany(
        "INSERT OR IGNORE INTO quarantine(sink, blob, sequence, device, measurement, hour, line, words, at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(h.sink, h.blob, h.sequence, h.device, h.measurement, h.hour, h.line, h.words, now) for h in held],
    )
    for sink in {each.sink for each in held}:
        _bound(db, sink)


def _bound(db: sqlite3.Connection, sink: str) -> None:
    """The oldest refused readings make room, once the ledger has counted them."""
    db.execute(
        "DELETE FROM quarantine WHERE sink = ?1 AND blob <= (SELECT folded FROM sinks WHERE id = ?1)"
        " AND id <= (SELECT id FROM quarantine WHERE sink = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (sink, MOST_HELD),
    )


def count(db: sqlite3.Connection, sink: str) -> int:
    """How many are kept."""
    ((found,),) = db.execute("SELECT count(*) FROM quarantine WHERE sink = ?", (sink,))
    return int(found)


def newest(db: sqlite3.Connection, sink: str, most: int) -> list[Quarantined]:
    """The newest readings in a sink's quarantine, newest first."""
    rows = db.execute(
        "SELECT at_ms, device, line, words FROM quarantine WHERE sink = ? ORDER BY id DESC LIMIT ?", (sink, most)
    )
    return [Quarantined(at / 1000, device, line, words) for at, device, line, words in rows]


def delete(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Within `transaction`: they are no longer kept."""
    db.executemany("DELETE FROM quarantine WHERE id = ?", [(id_,) for id_ in ids])
