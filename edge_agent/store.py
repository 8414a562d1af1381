"""The journal on disk: SQLite, one gzip blob of line protocol per commit. Synchronous; runs in the journal's thread.

A row's id is the sequence number of its last reading, so that how much waits is a subtraction and never a count.
WAL with synchronous=FULL: what `commit` has returned survives a power cut. The ledger is folded from the rows' own
counts later, in bulk; a row is deleted only after it was folded.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import msgspec
from isal import igzip, isal_zlib

from drivers.reading import Readings
from edge_agent.ledger import (
    Key,
    Ledger,
    Side,
    SinkState,
    Tally,
    add_to,
    merge,
    pack_side,
    tally,
    unpack_side,
)
from edge_agent.lines import Encoder, stamp_of

log = logging.getLogger("edge.journal")

SCHEMA_VERSION = 1
PAGE = 4096
DAMAGED: tuple[type[Exception], ...] = (ValueError, EOFError, OSError, isal_zlib.error)  # type: ignore[assignment]  # isal: no class
"""What unpacking a damaged row raises."""
MOST_HELD = 10_000
"""Refused readings kept for each sink; the oldest make room."""
SPARE = 1024
"""Pages beyond the limit that making room may use: it writes to the ledger before it can delete."""

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE boots(id INTEGER PRIMARY KEY, boot TEXT UNIQUE NOT NULL);
CREATE TABLE blobs(
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- sequence number of the row's last reading, never given twice
    readings INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    side BLOB NOT NULL,                    -- Side, msgpack, compressed
    body BLOB NOT NULL);                   -- line protocol, one gzip member
CREATE TABLE sinks(id TEXT PRIMARY KEY, state BLOB NOT NULL, folded INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE ledger(hour INTEGER, device TEXT, name TEXT, n INTEGER NOT NULL,
    PRIMARY KEY(hour, device, name)) WITHOUT ROWID;
CREATE TABLE quarantine(
    id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, blob INTEGER NOT NULL, sequence INTEGER NOT NULL,
    device TEXT NOT NULL, measurement TEXT NOT NULL, hour INTEGER NOT NULL, line TEXT NOT NULL, words TEXT NOT NULL,
    at_ms INTEGER NOT NULL, UNIQUE(sink, sequence));
CREATE INDEX quarantine_blob ON quarantine(blob);
"""


class NewerJournal(Exception):
    """The journal was written by a later version of the program, which must not be guessed at."""


class Row(msgspec.Struct, frozen=True):
    """One commit."""

    id: int
    readings: int
    committed_ms: int
    body: bytes

    @property
    def after(self) -> int:
        """The sequence number before its first reading."""
        return self.id - self.readings


class Held(msgspec.Struct, frozen=True):
    """One reading that a sink refused."""

    sink: str
    blob: int
    sequence: int
    device: str
    measurement: str
    hour: int
    line: str
    words: str


class Stat(msgspec.Struct, frozen=True):
    """The journal in numbers."""

    last_id: int
    readings: int
    first_ms: int | None
    last_ms: int | None
    bytes: int
    quarantined: int
    thinned: int
    damaged_files: int


class Group:
    """What goes into one commit: readings with their counts, and what sinks have settled."""

    def __init__(self) -> None:
        """Begin empty."""
        self.readings: list[Readings] = []
        self.silent: dict[Key, Tally] = {}
        """Counts of readings without any value: nothing of them but the counts is stored."""
        self.points = 0
        """Values that wait, which is what the memory bound counts."""
        self.states: dict[str, bytes] = {}
        """Packed state of each sink that settled something."""
        self.held: list[Held] = []

    def add(self, readings: Readings) -> None:
        """Put one instant of a source in."""
        values = len(readings.values)
        if readings.faults and (values := values - readings.values.count(None)) == 0:
            add_to(self.silent, readings)
            return
        self.readings.append(readings)
        self.points += values

    def extend(self, later: Group) -> None:
        """Put another group behind this one."""
        self.readings.extend(later.readings)
        merge(self.silent, later.silent)
        self.points += later.points
        self.states |= later.states
        self.held.extend(later.held)


class Store:
    """The database file. All of it belongs to one thread."""

    def __init__(self, path: Path, site: str, boot: str, max_bytes: int) -> None:
        """Open `path`, made where absent; a damaged file is set aside and a new one begun.

        Raises NewerJournal, OSError or sqlite3.OperationalError (folder not writable, disk full).
        """
        self.path = path
        self.max_bytes = max_bytes
        self._encoder = Encoder(site)
        self._boot_id = boot
        self._unsaved: dict[Key, Tally] = {}
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._set_aside(error)
            self._open()

    # --- opening and closing ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._db = _connect(self.path)
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            self._db.close()
            raise NewerJournal(f"schema {version}, this program knows {SCHEMA_VERSION}")
        if version == 0:
            self._db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        self._limit_pages()
        self.ledger = Ledger(self._db)
        self.last_id = self._sequence()
        self.last_ms = self._one("SELECT last_ms FROM blobs ORDER BY id DESC LIMIT 1") or 0
        self._thinned = self._meta("thinned") or 0
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO boots(boot) VALUES (?)", (self._boot_id,))
        self._boot = self._one("SELECT id FROM boots WHERE boot = ?", self._boot_id)

    def _limit_pages(self, spare: int = 0) -> None:
        """Keep SQLite itself from filling the disk: a database that met a full disk cannot even delete."""
        self._db.execute(f"PRAGMA max_page_count={max(256, self.max_bytes // PAGE) + spare}")

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        for suffix in ("", "-wal", "-shm"):
            damaged = self.path.with_name(self.path.name + suffix)
            if damaged.exists():
                damaged.rename(damaged.with_name(f"{self.path.name}.damaged-{stamp}{suffix}"))
        log.error("journal damaged, set aside file=%s error=%s", self.path, error)

    def reopen(self) -> None:
        """Close and open again after an I/O error: a handle whose sync failed is never synced again."""
        kept = self.last_id
        self._db.close()
        try:
            self._open()
        finally:
            self.last_id = kept

    def close(self) -> None:
        """Save what is counted, then close."""
        try:
            self.count_unsaved()
        finally:
            self._db.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def commit(self, group: Group) -> None:
        """Put the group on disk in one transaction. Raises sqlite3.Error; nothing of it is stored then."""
        lines = [self._encoder.encode(readings) for readings in group.readings]
        text = "".join(lines)
        tallies = tally(group.readings)
        merge(tallies, group.silent)
        merge(tallies, self._unsaved)
        stored = sum(count.stored for count in tallies.values())
        if text or group.states or group.held:
            with self._db:
                if text:
                    self._insert(group, lines, text, tallies, stored)
                self._save_states(group.states, group.held)
        self._unsaved = {} if text else tallies
        if text:
            self.last_id += stored
            self.last_ms = max(self.last_ms, *(readings.time for readings in group.readings))

    def _insert(self, group: Group, lines: list[str], text: str, tallies: Mapping[Key, Tally], stored: int) -> None:
        kept = [readings for readings, line in zip(group.readings, lines, strict=True) if line]
        counts = [len(readings.values) - readings.values.count(None) for readings in kept]
        side = Side(list(tallies.values()), [readings.mono for readings in kept], counts)
        times = [readings.time for readings in kept]
        # A commit whose sync failed may be there all the same after the file was opened anew: it is this one.
        self._db.execute("DELETE FROM blobs WHERE id > ?", (self.last_id,))
        self._db.execute(
            "INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.last_id + stored,
                stored,
                min(times),
                max(*times, self.last_ms),
                _now_ms(),
                self._boot,
                pack_side(side),
                pack(text),
            ),
        )

    def _save_states(self, states: Mapping[str, bytes], held: Sequence[Held]) -> None:
        self._db.executemany(
            "INSERT INTO sinks VALUES (?1, ?2, 0) ON CONFLICT(id) DO UPDATE SET state = ?2", list(states.items())
        )
        now = _now_ms()
        self._db.executemany(
            "INSERT OR IGNORE INTO quarantine(sink, blob, sequence, device, measurement, hour, line, words, at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(h.sink, h.blob, h.sequence, h.device, h.measurement, h.hour, h.line, h.words, now) for h in held],
        )
        for sink in {each.sink for each in held}:
            self._bound_quarantine(sink)

    def _bound_quarantine(self, sink: str) -> None:
        """The oldest refused readings make room, once the ledger has counted them."""
        self._db.execute(
            "DELETE FROM quarantine WHERE sink = ?1 AND blob <= (SELECT folded FROM sinks WHERE id = ?1)"
            " AND id <= (SELECT id FROM quarantine WHERE sink = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            (sink, MOST_HELD),
        )

    def count_unsaved(self) -> None:
        """Put counts of groups that stored nothing straight into the ledger."""
        self.ledger.count(self._unsaved.values())
        self._unsaved = {}

    def whole_ledger(self, since_hour: int) -> Mapping[tuple[int, str], Mapping[str, int]]:
        """Fold everything, then the table: in one go, so that nothing is settled in between."""
        self.count_unsaved()
        while self.ledger.fold(self.last_id):
            pass
        return self.ledger.table(since_hour)

    # --- reading ------------------------------------------------------------------------------------------------------

    def rows(self, after: int, upto: int, most_readings: int, most_bytes: int) -> list[Row]:
        """Rows in (after, upto], oldest first, until a limit is passed; at least one where there is one."""
        found: list[Row] = []
        readings = size = 0
        query = "SELECT id, readings, committed_ms, body FROM blobs WHERE id > ? AND id <= ? ORDER BY id"
        for values in self._db.execute(query, (after, upto)):
            row = Row(*values)
            readings += row.readings
            size += len(row.body)
            if found and (readings > most_readings or size > most_bytes):
                break
            found.append(row)
        return found

    def first_after(self, sequence: int) -> tuple[int, int] | None:
        """(sequence number before it, time of commit in ms) of the first row above `sequence`."""
        query = "SELECT id - readings, committed_ms FROM blobs WHERE id > ? ORDER BY id LIMIT 1"
        found = self._db.execute(query, (sequence,)).fetchone()
        return (found[0], found[1]) if found else None

    def newest(self, since_ms: int, most: int = 100) -> int:
        """The sequence number before the oldest of the last `most` rows that was committed since `since_ms`."""
        query = "SELECT id - readings, committed_ms FROM blobs ORDER BY id DESC LIMIT ?"
        fresh = [after for after, committed in self._db.execute(query, (most,)) if committed >= since_ms]
        return fresh[-1] if fresh else self.last_id

    def side(self, blob: int) -> Side:
        """What is kept beside the lines of the row `blob`. Raises KeyError where the row is gone."""
        found = self._db.execute("SELECT side FROM blobs WHERE id = ?", (blob,)).fetchone()
        if found is None:
            raise KeyError(blob)
        return unpack_side(found[0])

    def last_stamps(self, rows: int = 50) -> dict[str, int]:
        """The newest stamp (ms) of each series in the last rows; a row that is damaged tells nothing."""
        stamps: dict[str, int] = {}
        for id_, body in self._db.execute("SELECT id, body FROM blobs ORDER BY id DESC LIMIT ?", (rows,)):
            try:
                found = [stamp_of(line) for line in unpack(body).rstrip("\n").split("\n")]
            except DAMAGED as error:
                log.error("journal row damaged row=%d error=%s", id_, error)
                continue
            for series, stamp in found:
                stamps[series] = max(stamp, stamps.get(series, 0))
        return stamps

    def states(self) -> dict[str, SinkState]:
        """What is kept of each sink."""
        return {name: state for name, state, _ in self.ledger.sinks()}

    def stat(self) -> Stat:
        """The journal in numbers; of the blobs none is counted."""
        folder, damaged = self.path.parent, f"{self.path.name}.damaged-*"
        first = self.first_after(0)
        return Stat(
            last_id=self.last_id,
            readings=self.last_id - first[0] if first else 0,
            first_ms=self._one("SELECT first_ms FROM blobs ORDER BY id LIMIT 1"),
            last_ms=self._one("SELECT last_ms FROM blobs ORDER BY id DESC LIMIT 1"),
            bytes=sum(p.stat().st_size for p in folder.glob(self.path.name + "*") if "damaged" not in p.name),
            quarantined=self._one("SELECT count(*) FROM quarantine") or 0,
            thinned=self._thinned,
            damaged_files=len({p.name.removesuffix("-wal").removesuffix("-shm") for p in folder.glob(damaged)}),
        )

    # --- making room --------------------------------------------------------------------------------------------------

    def trim(self, older_than_ms: int, sinks: Iterable[str], most: int = 500) -> int:
        """Delete up to `most` rows that all `sinks` have settled and that are older than the limit; how many it was."""
        self.ledger.fold(self.last_id)
        marks = {name: mark for name, _, mark in self.ledger.sinks()}
        upto = min([self.ledger.folded(), *(marks.get(name, 0) for name in sinks)])
        query = "SELECT id, committed_ms FROM blobs WHERE id <= ? ORDER BY id LIMIT ?"
        rows = self._db.execute(query, (upto, most)).fetchall()
        old = [id_ for id_, _ in takewhile(lambda row: row[1] < older_than_ms, rows)]
        with self._db:
            self._db.execute("DELETE FROM blobs WHERE id <= ?", (old[-1] if old else 0,))
        return len(old)

    def make_room(self, sinks: Iterable[str], gap: int) -> int:
        """The file is at its limit: delivered history goes first; if there is none, the oldest readings are given up.

        `gap`: the end of the oldest gap of any sink. Returns the sequence number up to which readings were given up, 0
        for none.
        """
        self._limit_pages(SPARE)
        try:
            return 0 if self.trim(_now_ms() + 1, sinks) else self._thin(gap)
        finally:
            self._limit_pages()

    def _thin(self, gap: int, most: int = 500) -> int:
        while self.ledger.fold(self.last_id):
            pass
        query = "SELECT id FROM blobs WHERE id <= ? ORDER BY id LIMIT ?"
        rows = [id_ for (id_,) in self._db.execute(query, (gap, most))]
        counts: Counter[Key] = Counter()
        for id_ in rows:
            for count in self.side(id_).tallies:
                counts[count.hour, count.device, "thinned"] += count.stored
        gone = sum(counts.values())
        with self._db:
            self.ledger.add(counts)
            self._set_meta("thinned", self._thinned + gone)
            self._db.execute("DELETE FROM blobs WHERE id <= ?", (rows[-1] if rows else 0,))
        self._thinned += gone
        log.error("journal full, readings given up rows=%d readings=%d", len(rows), gone)
        return rows[-1] if rows else 0

    def forget(self, before_hour: int) -> None:
        """Delete the ledger of the hours (since 1970) before this one."""
        with self._db:
            self._db.execute("DELETE FROM ledger WHERE hour < ?", (before_hour,))

    # --- small ones ---------------------------------------------------------------------------------------------------

    def _sequence(self) -> int:
        return self._one("SELECT seq FROM sqlite_sequence WHERE name = 'blobs'") or 0

    def _one(self, query: str, *values: object) -> int | None:
        found = self._db.execute(query, values).fetchone()
        return found[0] if found else None

    def _meta(self, key: str) -> int | None:
        return self._one("SELECT value FROM meta WHERE key = ?", key)

    def _set_meta(self, key: str, value: int) -> None:
        self._db.execute("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2", (key, value))


def pack(text: str) -> bytes:
    """Lines as one gzip member: the level costs 0.05 us a reading, a tenth of zlib's fastest."""
    return bytes(igzip.compress(text.encode(errors="replace"), 2))


def unpack(body: bytes) -> str:
    """Lines of one gzip member."""
    return igzip.decompress(body).decode()  # type: ignore[no-untyped-call, no-any-return]  # isal ships no types


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10, check_same_thread=False)
    connection.execute(f"PRAGMA page_size={PAGE}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=100")
    return connection


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
