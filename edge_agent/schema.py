"""The journal's tables and how a file of an earlier version becomes one of this version."""

from __future__ import annotations

import os
import sqlite3
import zlib
from pathlib import Path

PAGE = 4096
CACHE = 512
"""KiB of pages that a connection keeps: it appends and reads in order. SQLite's own 2 MiB fill up for nothing."""
SCHEMA_VERSION = 2

_FIRST = """
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
_STEPS = {
    0: _FIRST,
    # span: the sequence numbers that the row stands for, where it holds fewer readings than that (NULL: as many).
    # holes: n numbers up to this one, since the row before, belong to no reading that is kept.
    1: """
ALTER TABLE blobs ADD COLUMN span INTEGER;
ALTER TABLE blobs ADD COLUMN crc INTEGER;
CREATE TABLE holes(upto INTEGER PRIMARY KEY, n INTEGER NOT NULL);
""",
}
"""What leads from each version to the next."""

_TYPES = {
    "blobs": ("iiiiiibb", "id readings first_ms last_ms committed_ms boot side body"),
    "ledger": ("itti", "hour device name n"),
    "sinks": ("tbi", "id state folded"),
    "holes": ("ii", "upto n"),
    "quarantine": ("itiittitti", "id sink blob sequence device measurement hour line words at_ms"),
}
_NAMES = {"i": "integer", "t": "text", "b": "blob"}

ENVIRONMENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""Errors that say something of the disk and nothing of the file's content."""


UNREADABLE = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS})
"""Places of the card that cannot be read any more: as good as damaged, if it happens twice."""


class NewerJournal(Exception):
    """The journal was written by a later version of the program, which must not be guessed at."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits survive a power cut (sqlite.org/pragma.html#pragma_synchronous)."""
    connection = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=100")
        connection.execute(f"PRAGMA cache_size={-CACHE}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to this version, each step whole or not at all. Raises NewerJournal."""
    version = _version(db)
    while version < SCHEMA_VERSION:
        after = version + 1
        note = f"INSERT OR REPLACE INTO meta VALUES ('schema', {after});"
        db.executescript(f"BEGIN;{_STEPS[version]}{note}PRAGMA user_version={after};COMMIT;")
        version = after


def _version(db: sqlite3.Connection) -> int:
    """The file's version. It stands in two places: one flipped bit must not pass for a later program."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version <= SCHEMA_VERSION:
        return version
    noted = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    if noted is None or noted[0] > SCHEMA_VERSION:
        raise NewerJournal(f"schema {version}, this program knows {SCHEMA_VERSION}")
    db.execute(f"PRAGMA user_version={int(noted[0])}")
    return int(noted[0])


def has_strange_values(db: sqlite3.Connection) -> bool:
    """True where a column holds a value of another type than was ever put there: a flipped bit can do that."""
    for table, (kinds, columns) in _TYPES.items():
        wrong = (f"typeof({c}) <> '{_NAMES[kind]}'" for kind, c in zip(kinds, columns.split(), strict=True))
        if db.execute(f"SELECT 1 FROM {table} WHERE {' OR '.join(wrong)} LIMIT 1").fetchone():
            return True
    return False


class Unreachable(sqlite3.DatabaseError):
    """Rows that must be there are not found, or cannot be what was written: the file is damaged."""


def is_damage(error: sqlite3.Error) -> bool:
    """True where the file's content is at fault, false where the disk or the folder is."""
    if isinstance(error, Unreachable):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.DatabaseError) and code is not None and code & 0xFF not in ENVIRONMENT


def is_damage_of(path: Path, error: sqlite3.Error) -> bool:
    """The same of a file that is being opened: one that calls itself read-only on a disk that is not is damaged too."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY:
        return path.exists() and all(os.access(p, os.W_OK) for p in (path, path.parent))
    return is_damage(error)


def checksum(id_: int, readings: int, span: int | None, body: bytes) -> int:
    """Of what a sink is sent of a row. What stands beside it has the checksum of its own gzip member."""
    return zlib.crc32(body, zlib.crc32(b"%d %d %d" % (id_, readings, span or readings)))
