"""What a journal does about damage: begin a new file, put back what was saved, take out single rows that are broken.

On the journal's connection and in its thread. Where the damaged file is read: `salvage.py`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_agent.ledger import Ledger
from edge_agent.room import Holes
from edge_agent.salvage import (
    Stored,
    Tail,
    aside_name,
    believed,
    copy_aside,
    next_number,
    set_aside,
    take_small_tables,
)
from edge_agent.schema import Unreachable, connect, migrate

log = logging.getLogger("edge.journal")

NEW = ".new"
_SMALL = ("sinks", "ledger", "quarantine", "boots", "holes")
_ROW = "id, readings, first_ms, last_ms, committed_ms, boot, side, body, span, crc"
_BEFORE = "id - coalesce(span, readings)"


def begin_file(path: Path, why: object, last_id: int) -> None:
    """Set the file aside; in its place a new one, which goes on above every number ever given.

    Raises OSError, sqlite3.Error.
    """
    number, aside, fresh = next_number(path, last_id), aside_name(path), path.with_name(path.name + NEW)
    for suffix in ("", "-wal", "-shm"):
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    _write_fresh(fresh, path, aside.name, number)
    set_aside(path, aside, why)  # only now: on a full disk the old one stays, and this is tried again
    fresh.rename(path)


def end_beginning(path: Path) -> None:
    """Finish what a power cut between the two renamings of `begin_file` left. Raises OSError."""
    fresh = path.with_name(path.name + NEW)
    if fresh.exists() and not path.exists():
        fresh.rename(path)


def _write_fresh(fresh: Path, damaged: Path, aside: str, number: int) -> None:
    db = connect(fresh)
    try:
        migrate(db)
        with db:
            if not take_small_tables(damaged, db):
                for table in _SMALL:
                    db.execute(f"DELETE FROM {table}")
            notes = [("salvaging", aside), ("floor", number)]
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", notes)
            db.execute("INSERT OR REPLACE INTO sqlite_sequence(name, seq) VALUES ('blobs', ?)", (number,))
    finally:
        db.close()


def insert_row(db: sqlite3.Connection, row: Stored) -> None:
    """In the open transaction."""
    db.execute("INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(row))


class Mending:
    """The damage that an open journal has, or that its predecessor had."""

    def __init__(self, db: sqlite3.Connection, path: Path, ledger: Ledger, holes: Holes) -> None:
        """Go on with what was under way."""
        self._db = db
        self._path = path
        self._ledger = ledger
        self._holes = holes
        self.salvaging: Path | None = None
        self.floor = 0
        self._read()

    def _read(self) -> None:
        query = "SELECT value FROM meta WHERE key IN ('floor', 'salvaging') ORDER BY key"
        found = [value for (value,) in self._db.execute(query)]
        under_way = len(found) == 2
        self.salvaging = self._path.with_name(found[1]) if under_way else None
        self.floor = int(found[0]) if under_way else 0
        self._ledger.paused = under_way

    def take_over(self, rows: Sequence[Stored]) -> int:
        """Put rows of the damaged file in, those that are not there yet; how many readings."""
        taken = 0
        with self._db:
            for row in rows:
                if row.id <= self.floor and not self._overlaps(row):
                    insert_row(self._db, row)
                    taken += row.readings
        return taken

    def _overlaps(self, row: Stored) -> bool:
        query = f"SELECT {_BEFORE} FROM blobs WHERE id > ? ORDER BY id LIMIT 1"
        following = self._db.execute(query, (row.after,)).fetchone()
        return following is not None and following[0] < row.id

    def end(self) -> tuple[int, int]:
        """All is back; (first, last) sequence numbers that came: what is between `last` and the floor never was."""
        query = f"SELECT {_BEFORE}, id, span - readings FROM blobs WHERE id <= ? ORDER BY id"
        first = reached = None
        with self._db:
            self._db.execute("DELETE FROM holes WHERE upto <= ?", (self.floor,))
            for after, id_, thinned in self._db.execute(query, (self.floor,)).fetchall():
                if reached is None:
                    first = after
                elif after > reached:
                    self._holes.note(reached, after, after - reached)
                if thinned:
                    self._holes.note(after, id_, thinned)
                reached = id_
            if reached is not None:
                self._holes.note(reached, self.floor, self.floor - reached)
            self._db.execute("DELETE FROM meta WHERE key IN ('salvaging', 'floor')")
        span = (self.floor if first is None else first, reached or 0)
        self._holes.read()
        self._read()
        return span

    def take_tail(self, tail: Tail, last_id: int) -> int:
        """Put the commits in that stand behind a damaged place of the WAL; the last sequence number then."""
        rows = tail.rows(self._path, last_id)
        if tail.is_damage and rows:
            copy_aside(self._path, tail.content)
        with self._db:
            for row in rows:
                insert_row(self._db, row)
                self._holes.note(last_id, row.id, row.after - last_id)
                last_id = row.id
        self._holes.read()
        return last_id

    def is_really_gone(self, after: int, upto: int) -> bool:
        """True where no row in (after, upto] is there, and not only out of reach behind a damaged page."""
        if self._holes.between(after, upto) >= upto - after:
            return True
        sound = bool(self._db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        if sound:
            with self._db:
                self._holes.note(after, upto, upto - after)
            self._holes.read()
        return sound

    def drop_damaged(self, id_: int) -> None:
        """A row whose body cannot be unpacked any more: kept in a file of its own, and gone from the journal.

        Raises Unreachable where the row was seen in passing and is not found by its number: the tree itself is damaged.
        """
        found = self._db.execute(f"SELECT {_ROW} FROM blobs WHERE id = ?", (id_,)).fetchone()
        if found is None:
            raise Unreachable(f"row {id_} out of order")
        row = Stored(*found)
        mended = believed(msgspec.convert(row, type=Stored, from_attributes=True))
        with self._db:
            if mended is None:
                with self._path.with_name(f"{self._path.name}.damaged-rows").open("ab") as file:
                    file.write(msgspec.msgpack.encode(row))
                self._holes.note(row.after, row.id, row.id - row.after)
                self._db.execute("DELETE FROM blobs WHERE id = ?", (id_,))
            else:
                self._db.execute("UPDATE blobs SET crc = ? WHERE id = ?", (mended.crc, id_))
        self._holes.read()
        log.error("journal row damaged row=%d readings=%d lost=%s", id_, row.readings, mended is None)
