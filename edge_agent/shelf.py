"""Questions about the rows on disk, as functions of a connection. Part of `store.py`, in its thread."""

from __future__ import annotations

import logging
import sqlite3

from edge_agent.body import DAMAGED, unpack
from edge_agent.ledger import Side, unpack_side
from edge_agent.lines import stamp_of
from edge_agent.rows import Row
from edge_agent.schema import checksum

log = logging.getLogger("edge.journal")


def whole_rows(
    db: sqlite3.Connection, after: int, upto: int, most_readings: int, most_bytes: int
) -> tuple[list[Row], int | None]:
    """Rows up to a limit or to the first damaged one, and that one's id."""
    found: list[Row] = []
    readings = size = 0
    query = "SELECT id, readings, committed_ms, body, span, crc FROM blobs WHERE id > ? AND id <= ? ORDER BY id"
    for *values, crc in db.execute(query, (after, upto)):
        row = Row(*values)
        if crc is not None and crc != checksum(row.id, row.readings, row.span, row.body):
            return found, row.id
        readings += row.readings
        size += len(row.body)
        if found and (readings > most_readings or size > most_bytes):
            break
        found.append(row)
    return found, None


def first_after(db: sqlite3.Connection, sequence: int) -> tuple[int, int] | None:
    """(sequence number before it, time of commit in ms) of the first row above `sequence`."""
    query = "SELECT id - coalesce(span, readings), committed_ms FROM blobs WHERE id > ? ORDER BY id LIMIT 1"
    found = db.execute(query, (sequence,)).fetchone()
    return (found[0], found[1]) if found else None


def side(db: sqlite3.Connection, blob: int) -> Side:
    """What is kept beside the lines of the row `blob`. Raises KeyError where the row is gone."""
    found = db.execute("SELECT side FROM blobs WHERE id = ?", (blob,)).fetchone()
    if found is None:
        raise KeyError(blob)
    return unpack_side(found[0])


def last_stamps(db: sqlite3.Connection, rows: int = 50) -> dict[str, int]:
    """The newest stamp (ms) of each series in the last rows; a row that is damaged tells nothing."""
    stamps: dict[str, int] = {}
    for id_, body in db.execute("SELECT id, body FROM blobs ORDER BY id DESC LIMIT ?", (rows,)):
        try:
            found = [stamp_of(line) for line in unpack(body).rstrip("\n").split("\n")]
        except DAMAGED as error:
            log.error("journal row damaged row=%d error=%s", id_, error)
            continue
        for series, stamp in found:
            stamps[series] = max(stamp, stamps.get(series, 0))
    return stamps
