"""The journal's file as others may read it, also while the agent runs: checked row by row, or written out as lines."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edge_agent.body import DAMAGED, unpack
from edge_agent.ledger import unpack_side
from edge_agent.lines import parse
from edge_agent.salvage import Stored
from edge_agent.schema import SCHEMA_VERSION, checksum

PORTION = 200
"""Rows read at once: a long read would keep the agent's log from being written back."""
MOST_NAMED = 20
_COLUMNS = "id, readings, first_ms, last_ms, committed_ms, boot, side, body, span, crc"

Seen = Callable[[float], None]
"""Told how much is done, 0..1."""


class Unusable(Exception):
    """The file cannot be read at all; the message says why."""


class NotWritten(Exception):
    """The file that should be written cannot be; the message says why."""


class Checked(msgspec.Struct):
    """What `edge journal verify` found."""

    rows: int = 0
    readings: int = 0
    damaged: int = 0
    """Rows whose checksum does not hold or that cannot be unpacked."""
    miscounted: int = 0
    """Rows with more or fewer readings than they say."""
    disordered: int = 0
    """Rows whose numbers overlap those of the row before."""
    missing: int = 0
    """Sequence numbers without a row, for which there is no reason."""
    without_checksum: int = 0
    """Rows from before there were checksums; their lines have their own."""
    structure: str = "ok"
    """What SQLite says of its own pages."""
    named: list[int] = []
    """Numbers of the first rows that are not as they should be."""

    @property
    def is_sound(self) -> bool:
        """True where nothing is wrong."""
        return not (self.damaged or self.miscounted or self.disordered or self.missing) and self.structure == "ok"


def opened(path: Path) -> sqlite3.Connection:
    """The file, for reading only. Raises Unusable."""
    try:
        if not path.exists():
            raise Unusable("no such file")
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except (sqlite3.Error, OSError) as error:
        raise Unusable(str(error)) from error
    if version != SCHEMA_VERSION:
        raise Unusable(f"schema {version}, this program reads {SCHEMA_VERSION}; `edge run` brings older ones to it")
    return db


def rows(db: sqlite3.Connection, seen: Seen, *, first_ms: int = 0, last_ms: int = 1 << 62) -> Iterator[Stored]:
    """Rows that hold readings of the time between, oldest first. Raises sqlite3.DatabaseError."""
    first, last = db.execute("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM blobs").fetchone()
    query = f"SELECT {_COLUMNS} FROM blobs WHERE id > ? AND last_ms >= ? AND first_ms <= ? ORDER BY id LIMIT ?"
    reached = 0
    while portion := db.execute(query, (reached, first_ms, last_ms, PORTION)).fetchall():
        for row in portion:
            yield Stored(*row)
        reached = portion[-1][0]
        seen((reached - first) / max(1, last - first))


def verify(path: Path, seen: Seen) -> Checked:
    """Check every row and the file's own structure. Raises Unusable."""
    db = opened(path)
    found = Checked(named=[])
    try:
        found.structure = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        holes = dict(db.execute("SELECT upto, n FROM holes"))
        reached: int | None = None
        for row in rows(db, seen):
            if _judge(found, row, reached, holes) and len(found.named) < MOST_NAMED:
                found.named.append(row.id)
            reached = row.id
    except (sqlite3.Error, TypeError) as error:
        found.structure = str(error)
    finally:
        db.close()
    return found


def _judge(found: Checked, row: Stored, reached: int | None, holes: dict[int, int]) -> bool:
    """Count one row; True where it is not as it should be."""
    before = found.damaged, found.miscounted, found.disordered, found.missing
    found.rows += 1
    found.readings += row.readings
    found.without_checksum += row.crc is None
    if row.crc is not None and row.crc != checksum(row.id, row.readings, row.span, row.body):
        found.damaged += 1
    else:
        _open(found, row)
    if reached is not None and row.after < reached:
        found.disordered += 1
    elif reached is not None and row.after > reached:
        explained = sum(n for upto, n in holes.items() if reached < upto <= row.after)
        found.missing += max(0, row.after - reached - explained)
    return before != (found.damaged, found.miscounted, found.disordered, found.missing)


def _open(found: Checked, row: Stored) -> None:
    try:
        lines = parse(unpack(row.body))
        side = unpack_side(row.side)
    except DAMAGED:
        found.damaged += 1
        return
    counted = sum(len(line.fields) for line in lines)
    stored = sum(tally.stored for tally in side.tallies)
    found.miscounted += not (counted == row.readings == stored and len(side.readings) == len(lines))


class Exported(msgspec.Struct):
    """What `edge journal export` wrote."""

    file: str
    lines: int = 0
    readings: int = 0
    damaged: int = 0
    """Rows that could not be unpacked and are left out."""


def export(path: Path, target: Path, span_ms: tuple[int, int], database: str, seen: Seen) -> Exported:
    """Write the lines between two times to a gzip file, stamps in nanoseconds: what `influx -import` and the write
    endpoints take without an option. Whole or not at all. Raises Unusable, NotWritten, sqlite3.DatabaseError.
    """
    db = opened(path)
    found = Exported(str(target))
    target = target.resolve()  # a link stays one
    part = target.with_name(f"{target.name}.part")
    try:
        with gzip.open(part, "wt", encoding="utf-8", compresslevel=6) as file:
            file.write(f"# DML\n# CONTEXT-DATABASE: {database}\n")
            for row in rows(db, seen, first_ms=span_ms[0], last_ms=span_ms[1]):
                for text in _lines(found, row, span_ms):
                    file.write(text)
        part.replace(target)
    except OSError as error:
        raise NotWritten(error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        db.close()
    return found


def _lines(found: Exported, row: Stored, span_ms: tuple[int, int]) -> Iterator[str]:
    try:
        lines = parse(unpack(row.body))
    except DAMAGED:
        found.damaged += 1
        return
    for line in lines:
        if span_ms[0] <= line.time <= span_ms[1]:
            found.lines += 1
            found.readings += len(line.fields)
            yield msgspec.structs.replace(line, time=line.time * 1_000_000).text()
