"""The journal on disk: SQLite, one gzip blob of line protocol per commit. Synchronous; runs in the journal's thread.

A row's id is the sequence number of its last reading, so that how much waits is a subtraction and never a count.
WAL with synchronous=FULL: what `commit` has returned survives a power cut. The ledger is folded from the rows' own
counts later, in bulk; a row is deleted only after it was folded. Whatever is in the file, it opens: what is damaged is
set aside and brought back beside the running agent.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from edge_agent import refused, shelf
from edge_agent.body import DAMAGED, pack
from edge_agent.lately import Lately
from edge_agent.ledger import Key, Ledger, Side, SinkState, Tally, merge, pack_side, pack_state, tally
from edge_agent.lines import Encoder
from edge_agent.mending import Mending, begin_file, end_beginning, insert_row
from edge_agent.newest import Newest
from edge_agent.quarantined import Quarantined
from edge_agent.room import Freed, Holes, Room
from edge_agent.rows import Group, Held, Row, Stat
from edge_agent.salvage import Stored, Tail, aside_files, broken_tail, size_of
from edge_agent.schema import PAGE, UNREADABLE, checksum, connect, has_strange_values, is_damage_of, migrate
from edge_agent.thin import DEFAULT, Policy
from edge_agent.undated import Undated

if TYPE_CHECKING:
    from edge_agent.account import Account

log = logging.getLogger("edge.journal")

SPARE = 1024
"""Pages beyond the limit that making room may use: it writes to the ledger before it can delete."""


class Store:
    """The database file. All of it belongs to one thread."""

    _db: sqlite3.Connection

    def __init__(
        self, path: Path, site: str, boot: str, max_bytes: int, policy: Policy = DEFAULT, *, patient: bool = False
    ) -> None:
        """Open `path`, made where absent; a damaged file is set aside and a new one begun.

        Raises NewerJournal, OSError or sqlite3.OperationalError (folder not writable, disk full); `patient`: the latter
        two only make it `missing`.
        """
        self.path = path
        self.max_bytes = max_bytes
        self.policy = policy
        self.site = site
        self._encoder = Encoder(site)
        self._boot_id = boot
        self._unsaved: dict[Key, Tally] = {}
        self.accounts: WeakSet[Account] = WeakSet()
        self.openings = 0
        """Another one for each file that was opened, and while one is being opened."""
        self.last_id = 0
        self.missing: sqlite3.Error | OSError | None = None
        """Why the file could not be opened yet; until `reopen` can, there are no rows and nothing is taken."""
        if patient:
            self._open_or_wait()
        else:
            self._open_anyhow()

    # --- opening and closing ------------------------------------------------------------------------------------------

    def _open_anyhow(self) -> None:
        """Open the file, whatever is in it. Raises what the disk or the folder is at fault for."""
        for again in (False, True):
            try:
                return self._open()
            except (*DAMAGED, TypeError) as error:
                return self.begin_anew(error)
            except sqlite3.Error as error:
                unreadable = getattr(error, "sqlite_errorcode", None) in UNREADABLE
                if is_damage_of(self.path, error) or (unreadable and again):
                    return self.begin_anew(error)
                if again or not unreadable:
                    raise
        return None

    def _open_or_wait(self) -> None:
        try:
            self._open_anyhow()
            self.missing = None
        except (sqlite3.Error, OSError) as error:
            self.wait(error)

    def wait(self, why: sqlite3.Error | OSError) -> None:
        """Without the file for now: an empty journal in memory answers every question, and takes nothing."""
        if hasattr(self, "_db"):
            self._close()
        self.missing = why
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        migrate(self._db)
        self._read_all()

    def _open(self) -> None:
        self.openings += 1
        end_beginning(self.path)
        tail = broken_tail(self.path)
        self._db = connect(self.path)
        try:
            migrate(self._db)
            self._read_all(tail)
            self._probe()
            self.openings += 1
        except BaseException:
            self._db.close()
            raise

    def _read_all(self, tail: Tail | None = None) -> None:
        self.ledger = Ledger(self._db)
        self.holes = Holes(self._db)
        self.room = Room(self._db, self.ledger, self.holes, self.site)
        self.mending = Mending(self._db, self.path, self.ledger, self.holes)
        self._limit_pages()
        self._read_numbers()
        if tail is not None:
            self.last_id = self.mending.take_tail(tail, self.last_id)
        self._boot = self._known_boot()
        self.undated = Undated(self._db, self._boot)

    def _read_numbers(self) -> None:
        given, there = "SELECT seq FROM sqlite_sequence WHERE name = 'blobs'", "SELECT max(id) FROM blobs"
        self.last_id = max(self._one(given) or 0, self._one(there) or 0)
        self.newest_ms, self.lately = Newest(self._db), Lately()

    def _known_boot(self) -> int:
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO boots(boot) VALUES (?)", (self._boot_id,))
        return self._one("SELECT id FROM boots WHERE boot = ?", self._boot_id) or 0

    def _probe(self) -> None:
        """Touch every table that a start reads, so that damage there is found here."""
        for name in ("", *self.states()):
            self.count_refused(name)
        self.stat()
        self.last_stamps()
        self._db.execute("SELECT * FROM ledger LIMIT 1").fetchone()

    def _limit_pages(self, spare: int = 0) -> None:
        """Keep SQLite itself from filling the disk: a database that met a full disk cannot even delete."""
        most = max(256, self.max_bytes // PAGE)
        if self.floor:  # what comes back from a full file must find room beside what is new
            most += most // 4
        self._db.execute(f"PRAGMA max_page_count={most + spare}")

    def reopen(self) -> None:
        """Close and open again after an I/O error: a handle whose sync failed is never synced again."""
        if self.missing is not None:
            self._open_or_wait()
            return self._must_be_there()
        kept = self.last_id
        self._close()
        try:
            self._open()
        finally:
            self.last_id = max(kept, self.floor)
        return None

    def _must_be_there(self) -> None:
        if self.missing is not None:
            raise sqlite3.OperationalError(str(self.missing))

    def close(self) -> None:
        """Save what is counted, then close."""
        try:
            self.count_unsaved()
        finally:
            self._close()

    def _close(self) -> None:
        """Close the file, accounts first: a connection that is left closes by name, and that may be another file's."""
        for account in list(self.accounts):
            account.close()
        self._db.close()

    # --- damage (see mending.py) --------------------------------------------------------------------------------------

    @property
    def salvaging(self) -> Path | None:
        """The damaged journal whose rows are still being brought back."""
        return self.mending.salvaging

    @property
    def floor(self) -> int:
        """While they are: sequence numbers up to this one are not sent yet."""
        return self.mending.floor

    def begin_anew(self, why: object) -> None:
        """Set the file aside and begin a new one, whose numbers go on above the old one's.

        What is small is taken over at once, the readings later: see `salvaging`. Raises OSError, sqlite3.Error.
        """
        undated = self.undated.after if hasattr(self, "undated") else None
        if hasattr(self, "_db"):
            self._close()
        begin_file(self.path, why, self.last_id)
        self._open()
        if undated is not None:  # perhaps the old file could not tell it any more
            with self._db:
                self.undated.begin(undated)
            self.undated.read()

    def end_salvage(self) -> tuple[int, int]:
        """All is back; (first, last) sequence numbers that came: what is between `last` and the floor never was."""
        span = self.mending.end()
        self._limit_pages()
        return span

    def has_strange_values(self) -> bool:
        """True where a value has a type that was never written."""
        return has_strange_values(self._db)

    # --- writing ------------------------------------------------------------------------------------------------------

    def commit(self, group: Group) -> None:
        """Put the group on disk in one transaction. Raises sqlite3.Error; nothing of it is stored then."""
        self._must_be_there()
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
                refused.save(self._db, group.states, group.held, _now_ms())
        self._unsaved = {} if text else tallies
        if text:
            self.undated.read()
            self.lately.note(self.last_id)
            self.last_id += stored
            self.newest_ms.stamps([readings.time for readings in group.readings], _now_ms())

    def _insert(self, group: Group, lines: list[str], text: str, tallies: Mapping[Key, Tally], stored: int) -> None:
        kept = [readings for readings, line in zip(group.readings, lines, strict=True) if line]
        counts = [len(readings.values) - readings.values.count(None) for readings in kept]
        undated = [i for i, readings in enumerate(kept) if readings.undated]
        side = Side(list(tallies.values()), [readings.mono for readings in kept], counts, undated)
        if undated:
            self.undated.begin(self.last_id)
        times = [readings.time for readings in kept]
        # A commit whose sync failed may be there all the same after the file was opened anew: it is this one.
        self._db.execute("DELETE FROM blobs WHERE id > ?", (self.last_id,))
        self._put_row(stored, (min(times), max(times)), side, pack(text))

    def put_row(self, readings: int, span_ms: tuple[int, int], side: Side, body: bytes) -> None:
        """Within `transaction`: one more row."""
        self._db.execute("DELETE FROM blobs WHERE id > ?", (self.last_id,))
        self._put_row(readings, span_ms, side, body)
        self.newest_ms.row(span_ms[1], _now_ms())
        self.last_id += readings

    def transaction(self) -> sqlite3.Connection:
        """All or nothing of what the block does; after an error, `last_id` is as the file has it.

        Raises sqlite3.Error.
        """
        self._must_be_there()
        return self._db

    def select(self, query: str, *values: object) -> list[Any]:
        """Rows of a question."""
        return self._db.execute(query, values).fetchall()

    def _put_row(self, readings: int, span_ms: tuple[int, int], side: Side, body: bytes) -> None:
        id_, now = self.last_id + readings, _now_ms()
        crc = checksum(id_, readings, None, body)
        row = Stored(id_, readings, *span_ms, now, self._boot, pack_side(side), body, None, crc)
        insert_row(self._db, row)

    def count_unsaved(self) -> None:
        """Put counts of groups that stored nothing straight into the ledger."""
        if self.undated.after is None:  # else they wait for the right hour
            self.ledger.count(self._unsaved.values())
            self._unsaved = {}

    def fold(self) -> int:
        """Add to the ledger what is new; see `Ledger.fold`."""
        return self.ledger.fold(self.foldable)

    @property
    def foldable(self) -> int:
        """Rows up to this one have their final hour."""
        return self.last_id if self.undated.after is None else self.undated.after

    # --- reading ------------------------------------------------------------------------------------------------------

    def rows(self, after: int, upto: int, most_readings: int, most_bytes: int) -> list[Row]:
        """Rows in (after, upto], oldest first, until a limit is passed; at least one where there is one.

        Each is compared with its checksum first; a damaged one is not among them.
        """
        while True:
            found, damaged = shelf.whole_rows(self._db, after, upto, most_readings, most_bytes)
            if damaged is not None:
                self.mending.drop_damaged(damaged)
            if found or damaged is None:
                return found

    def first_after(self, sequence: int) -> tuple[int, int] | None:
        """(sequence number before it, time of commit in ms) of the first row above `sequence`."""
        return shelf.first_after(self._db, sequence)

    def newest(self) -> int:
        """The sequence number before the oldest reading that was committed in the last minute; for any thread."""
        return self.lately.before(self.last_id)

    def side(self, blob: int) -> Side:
        """What is kept beside the lines of the row `blob`. Raises KeyError where the row is gone."""
        return shelf.side(self._db, blob)

    def last_stamps(self) -> dict[str, int]:
        """The newest stamp (ms) of each series in the last rows; a row that is damaged tells nothing."""
        return shelf.last_stamps(self._db)

    def refused(self, sink: str, most: int) -> list[Quarantined]:
        """The newest readings in a sink's quarantine, newest first."""
        return refused.newest(self._db, sink, most)

    def count_refused(self, sink: str) -> int:
        """How many readings a sink's quarantine has."""
        return refused.count(self._db, sink)

    def states(self) -> dict[str, SinkState]:
        """What is kept of each sink."""
        return {name: state for name, state, _ in self.ledger.sinks()}

    def stat(self) -> Stat:
        """The journal in numbers; of the blobs none is counted."""
        first = self.first_after(0)
        self.newest_ms.row(*self._last_times())  # perhaps dated anew since its commit
        return Stat(
            last_id=self.last_id,
            readings=self._readings_since(first[0]) if first else 0,
            first_ms=self._one("SELECT first_ms FROM blobs ORDER BY id LIMIT 1"),
            last_ms=self.newest_ms.last_ms or None,
            ahead_ms=self.newest_ms.ahead_ms or None,
            bytes=size_of(self.path),
            quarantined=self._one("SELECT count(*) FROM quarantine") or 0,
            thinned=self._meta("thinned") or 0,
            damaged_files=len(aside_files(self.path)),
        )

    def _last_times(self) -> tuple[int, int]:
        found = self._db.execute("SELECT last_ms, committed_ms FROM blobs ORDER BY id DESC LIMIT 1").fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def _readings_since(self, after: int) -> int:
        """Readings on disk above `after`; of rows that are still being brought back, none."""
        start = max(after, self.floor)
        return self.last_id - start - self.holes.between(start, self.last_id)

    # --- making room --------------------------------------------------------------------------------------------------

    def trim(self, older_than_ms: int, sinks: Iterable[str]) -> int:
        """Delete some rows that all `sinks` have settled and that are older than the limit; how many it was."""
        return self.room.trim(older_than_ms, sinks, self.foldable)

    def make_room(self, states: Mapping[str, SinkState], held: Sequence[Held] = ()) -> Freed | None:
        """The file is at its limit: delivered history goes first; if there is none, the oldest readings are thinned.

        `held`: refused readings that are not on disk yet. None: there is nothing to free.
        """
        self._limit_pages(SPARE)
        try:
            with self._db:  # what is settled must be counted as that before the rows of it are rewritten
                refused.save(self._db, {name: pack_state(state) for name, state in states.items()}, held, _now_ms())
            if self.trim(_now_ms() + 1, states):
                return Freed(0, 0, 0)
            freed = self.room.thin(states, self.foldable, self.policy)
            if freed is None and self.undated.after is not None:
                self.undated.give_up()  # no room for patience; they stay marked
                freed = self.room.thin(states, self.last_id, self.policy)
            return freed or self.room.give_up(states, self.last_id)
        finally:
            self._limit_pages()

    # --- small ones ---------------------------------------------------------------------------------------------------

    def _one(self, query: str, *values: object) -> int | None:
        found = self._db.execute(query, values).fetchone()
        return found[0] if found else None

    def _meta(self, key: str) -> int | None:
        return self._one("SELECT value FROM meta WHERE key = ?", key)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
