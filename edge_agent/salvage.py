"""Bringing readings back from a damaged journal that was set aside, page by page, beside the running agent.

`damaged` is SQLite's file or only its WAL. Rows are believed where their checksum holds. What the small tables say
(how far each sink is, the ledger) is taken over only as a whole; without it each sink gets everything again, which
overwrites, and the ledger counts what is there.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge_agent.body import DAMAGED, unpack
from edge_agent.ledger import SinkState
from edge_agent.lines import parse
from edge_agent.pages import TABLE_LEAF, Pages, Record, broken_transactions
from edge_agent.schema import checksum

log = logging.getLogger("edge.journal")

SUFFIXES = ("", "-wal")
KEPT_ASIDE = 3
"""Damaged files that are kept; the oldest go, or they would fill the disk."""
PORTION = 256
"""Pages looked at in one go."""
MOST_WAL = 8 << 20
"""A longer WAL is not searched at the start, which it would hold up."""
NUMBERS_PER_S = 1 << 20
"""Sequence numbers go on above any that can have been given: more than this many readings a second there are not."""
_NOTES = "'folded', 'thinned', 'undated', 'undated_boot'"
_TABLES = ("sinks", "ledger", "boots", "holes")


class Stored(msgspec.Struct, frozen=True):
    """One row as it stands in the file."""

    id: int
    readings: int
    first_ms: int
    last_ms: int
    committed_ms: int
    boot: int
    side: bytes
    body: bytes
    span: int | None = None
    crc: int | None = None

    @property
    def after(self) -> int:
        """The sequence number before the first one that it stands for."""
        return self.id - (self.span or self.readings)


def set_aside(path: Path, aside: Path, why: object) -> None:
    """Rename a damaged journal with its WAL. Raises OSError."""
    for suffix in SUFFIXES:
        damaged = path.with_name(path.name + suffix)
        if damaged.exists():
            damaged.rename(aside.with_name(aside.name + suffix))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    log.error("journal damaged, set aside file=%s error=%s", aside, why)
    _forget_old(path)


def copy_aside(path: Path, wal: bytes) -> Path:
    """Keep a copy of a damaged WAL; the name of the journal that it would belong to. Raises OSError."""
    aside = aside_name(path)
    aside.with_name(aside.name + "-wal").write_bytes(wal)
    log.error("journal's last commits damaged, set aside file=%s-wal", aside)
    _forget_old(path)
    return aside


def aside_name(path: Path) -> Path:
    """A name for a damaged journal that is to be set aside now."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    names = (path.with_name(f"{path.name}.damaged-{stamp}{again}") for again in ("", *(f".{n}" for n in range(1, 999))))
    return next(name for name in names if not any(name.with_name(name.name + suffix).exists() for suffix in SUFFIXES))


def aside_files(path: Path) -> list[Path]:
    """Every journal set aside beside `path`, oldest first, without suffix."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted({p.with_name(p.name.removesuffix("-wal").removesuffix("-shm")) for p in found})


def size_of(path: Path) -> int:
    """Bytes of a journal with what belongs to it; 0 where the disk does not tell."""
    try:
        return sum(p.stat().st_size for p in path.parent.glob(path.name + "*") if "damaged" not in p.name)
    except OSError:
        return 0


def _forget_old(path: Path) -> None:
    for old in aside_files(path)[:-KEPT_ASIDE]:
        for suffix in (*SUFFIXES, "-shm"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)


class Tail(msgspec.Struct, frozen=True):
    """A WAL whose chain of frames is broken: SQLite passes over everything from there on."""

    content: bytes
    commits: int
    """That stand behind the break. One may be the commit that a power cut tore, which nobody was told of."""

    @property
    def is_damage(self) -> bool:
        """True where a cut cannot be the cause."""
        return self.commits > 1

    def rows(self, path: Path, last_id: int) -> list[Stored]:
        """Whole rows above `last_id`, in order, none overlapping another."""
        pages = Pages(path, None, self.content)
        records = (record for number, image in pages.frames for record in pages.records(number, image))
        found = {row.id: row for record in records if (row := stored(record)) is not None and row.id > last_id}
        kept: list[Stored] = []
        for _, row in sorted(found.items()):
            if row.after >= (kept[-1].id if kept else last_id):
                kept.append(row)
        return kept


def broken_tail(path: Path) -> Tail | None:
    """What stands in the WAL of `path` behind a broken frame; None: there is nothing."""
    wal = path.with_name(path.name + "-wal")
    try:
        if not 0 < wal.stat().st_size <= MOST_WAL:
            return None
        content = wal.read_bytes()
    except FileNotFoundError:
        return None
    commits = broken_transactions(content)
    return Tail(content, commits) if commits else None


def next_number(path: Path, known: int = 0) -> int:
    """A sequence number above every one that can have been given in the file (or its damaged ancestors)."""
    moments = [time.time()]
    moments += [p.stat().st_mtime for p in path.parent.glob(f"{path.name}*")]
    return max(known, int(max(moments)) * NUMBERS_PER_S)


def take_small_tables(aside: Path, db: sqlite3.Connection) -> bool:
    """Take sinks, ledger and what is refused over into the open transaction of `db`; False: they are damaged too."""
    try:
        with sqlite3.connect(f"{aside.as_uri()}?mode=ro", uri=True, timeout=1) as old:
            tables = {name: old.execute(f"SELECT * FROM {name}").fetchall() for name in (*_TABLES, "quarantine")}
            meta = old.execute(f"SELECT * FROM meta WHERE key IN ({_NOTES})").fetchall()
        for _, state, _ in tables["sinks"]:
            msgspec.msgpack.decode(state, type=SinkState)
        for name, rows in tables.items():
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                db.executemany(f"INSERT OR REPLACE INTO {name} VALUES ({marks})", rows)
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta)
    except (sqlite3.Error, *DAMAGED, TypeError) as error:
        log.error("small tables of the damaged journal lost error=%s", error)
        return False
    finally:
        aside.with_name(aside.name + "-shm").unlink(missing_ok=True)
    return True


class Salvage:
    """What can be read of one file set aside, in portions."""

    def __init__(self, aside: Path) -> None:
        """Open it. Raises OSError."""
        database = aside if aside.exists() else None
        self._pages = Pages(database, aside.with_name(aside.name + "-wal"))
        self._at = 0
        self._doubtful: list[Stored] = []
        """Whole, but not as their checksum says: perhaps under a wrong number, so that those who are sure go first."""

    @property
    def share(self) -> float:
        """How much of it has been looked at, 0..1."""
        return min(1.0, self._at / len(self._pages)) if len(self._pages) else 1.0

    def portion(self) -> list[Stored] | None:
        """The rows on the next pages; None: that was all."""
        if self._at >= len(self._pages):
            last, self._doubtful = self._doubtful, []
            return last or None
        first, self._at = self._at, self._at + PORTION
        return list(self._rows(first))

    def _rows(self, first: int) -> Iterator[Stored]:
        for number, page in self._pages.images(first, PORTION):
            for record in self._pages.records(number, page):
                row = _as_it_stands(record)
                if row is None or (whole := believed(row)) is None:
                    continue
                if row.crc in (None, whole.crc):
                    yield whole
                else:
                    self._doubtful.append(whole)


def stored(record: Record) -> Stored | None:
    """The row of the journal that a record is, if it is one and whole."""
    row = _as_it_stands(record)
    return None if row is None else believed(row)


def _as_it_stands(record: Record) -> Stored | None:
    fields = record.fields
    if record.kind != TABLE_LEAF or not 8 <= len(fields) <= 10 or record.rowid <= 0:
        return None
    names = Stored.__struct_fields__[: len(fields)]
    try:
        return msgspec.convert(dict(zip(names, (record.rowid, *fields[1:]), strict=True)), type=Stored)
    except msgspec.ValidationError:
        return None


def believed(row: Stored) -> Stored | None:
    """The row where its checksum holds, or where its lines are whole; None: it is damaged."""
    if row.crc is not None and row.crc == checksum(row.id, row.readings, row.span, row.body):
        return row
    try:
        readings = sum(len(line.fields) for line in parse(unpack(row.body)))
    except DAMAGED:
        return None
    if not readings or readings != row.readings or row.id < (row.span or readings):
        return None
    crc = checksum(row.id, readings, row.span, row.body)
    return msgspec.structs.replace(row, crc=crc)
