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
from pathlib import Path

import msgspec
from isal import igzip

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
    pack_state,
    tally,
    unpack_side,
)
from edge_agent.lines import Encoder, stamp_of

log = logging.getLogger("edge.journal")

SCHEMA_VERSION = 1
PAGE = 4096

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
    at_ms INTEGER NOT NULL);
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
    """Readings on their way into one commit, with their counts."""

    def __init__(self) -> None:
        """Begin empty."""
        self.readings: list[Readings] = []
        self.silent: dict[Key, Tally] = {}
        """Counts of readings without any value: nothing of them but the counts is stored."""
        self.points = 0
        """Values that wait, which is what the memory bound counts."""

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
        self._removed = self._meta("removed") or 0
        self._thinned = self._meta("thinned") or 0
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO boots(boot) VALUES (?)", (self._boot_id,))
        self._boot = self._one("SELECT id FROM boots WHERE boot = ?", self._boot_id)

    def _limit_pages(self) -> None:
        """Keep SQLite itself from filling the disk: a database that met a full disk cannot even delete."""
        self._db.execute(f"PRAGMA max_page_count={max(256, self.max_bytes // PAGE)}")

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        for suffix in ("", "-wal", "-shm"):
            damaged = self.path.with_name(self.path.name + suffix)
            if damaged.exists():
                damaged.rename(damaged.with_name(f"{self.path.name}.damaged-{stamp}{suffix}"))
        log.error("journal damaged, set aside file=%s error=%s", self.path, error)

    def reopen(self) -> None:
        """Close and open again after an I/O error: a handle whose sync failed is never synced again."""
        self._db.close()
        self._open()

    def close(self) -> None:
        """Save what is counted, then close."""
        self.count_unsaved()
        self._db.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def commit(self, group: Group, states: Mapping[str, SinkState], held: Sequence[Held]) -> int:
        """Put the group on disk with the sinks' states, in one transaction; the number of readings stored.

        Raises sqlite3.Error; nothing of the group is stored then.
        """
        lines = [self._encoder.encode(readings) for readings in group.readings]
        text = "".join(lines)
        tallies = tally(group.readings)
        merge(tallies, group.silent)
        merge(tallies, self._unsaved)
        stored = sum(count.stored for count in tallies.values())
        if not text and not states and not held:
            self._unsaved = tallies
            return 0
        with self._db:
            if text:
                self._insert(group, lines, text, tallies, stored)
            self._save_states(states, held)
        self._unsaved = {} if text else tallies
        if text:
            self.last_id += stored
            self.last_ms = max(self.last_ms, *(readings.time for readings in group.readings))
        return stored

    def _insert(self, group: Group, lines: list[str], text: str, tallies: Mapping[Key, Tally], stored: int) -> None:
        kept = [readings for readings, line in zip(group.readings, lines, strict=True) if line]
        counts = [len(readings.values) - readings.values.count(None) for readings in kept]
        side = Side(list(tallies.values()), [readings.mono for readings in kept], counts)
        times = [readings.time for readings in kept]
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

    def _save_states(self, states: Mapping[str, SinkState], held: Sequence[Held]) -> None:
        if states:
            self._db.executemany(
                "INSERT INTO sinks VALUES (?1, ?2, 0) ON CONFLICT(id) DO UPDATE SET state = ?2",
                [(name, pack_state(state)) for name, state in states.items()],
            )
        if held:
            now = _now_ms()
            self._db.executemany(
                "INSERT INTO quarantine(sink, blob, sequence, device, measurement, hour, line, words, at_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(h.sink, h.blob, h.sequence, h.device, h.measurement, h.hour, h.line, h.words, now) for h in held],
            )

    def count_unsaved(self) -> None:
        """Put counts of groups that stored nothing straight into the ledger."""
        self.ledger.count(self._unsaved.values())
        self._unsaved = {}

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
        """The newest stamp (ms) of each series in the last rows."""
        stamps: dict[str, int] = {}
        for (body,) in self._db.execute("SELECT body FROM blobs ORDER BY id DESC LIMIT ?", (rows,)):
            for line in unpack(body).rstrip("\n").split("\n"):
                series, stamp = stamp_of(line)
                stamps[series] = max(stamp, stamps.get(series, 0))
        return stamps

    def states(self) -> dict[str, SinkState]:
        """What is kept of each sink."""
        return {name: state for name, state, _ in self.ledger.sinks()}

    def stat(self) -> Stat:
        """The journal in numbers, without a scan."""
        folder, damaged = self.path.parent, f"{self.path.name}.damaged-*"
        return Stat(
            last_id=self.last_id,
            readings=self.last_id - self._removed,
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
        folded = [mark for name, _, mark in self.ledger.sinks() if name in sinks]
        upto = min([self.ledger.folded(), *folded])
        query = "SELECT id, readings FROM blobs WHERE id <= ? AND committed_ms < ? ORDER BY id LIMIT ?"
        rows = self._db.execute(query, (upto, older_than_ms, most)).fetchall()
        with self._db:
            self._remove(rows)
        return len(rows)

    def thin(self, most: int = 500) -> int:
        """Give up the oldest rows though not every sink has them: the last resort of a full journal.

        Returns the sequence number up to which there is nothing left.
        """
        while self.ledger.fold(self.last_id):
            pass
        rows = self._db.execute("SELECT id, readings FROM blobs ORDER BY id LIMIT ?", (most,)).fetchall()
        counts: Counter[Key] = Counter()
        for id_, _ in rows:
            for count in self.side(id_).tallies:
                counts[count.hour, count.device, "thinned"] += count.stored
        self._thinned += sum(counts.values())
        with self._db:
            self.ledger.add(counts)
            self._set_meta("thinned", self._thinned)
            self._remove(rows)
        log.error("journal full, readings given up rows=%d readings=%d", len(rows), sum(counts.values()))
        return rows[-1][0] if rows else 0

    def _remove(self, rows: list[tuple[int, int]]) -> None:
        if rows:
            self._db.execute("DELETE FROM blobs WHERE id <= ?", (rows[-1][0],))
            self._removed += sum(readings for _, readings in rows)
            self._set_meta("removed", self._removed)

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
    return bytes(igzip.compress(text.encode(), 2))


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
