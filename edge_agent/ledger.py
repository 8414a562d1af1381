"""The completeness ledger: per hour and device what was expected, read, stored, and what became of it at each sink.

Every row of the journal carries its own counts, so counting costs no extra write on the way in. They are folded into
the table `ledger` later, in bulk; each sink's part as its low-water mark passes. The sum is exact: a row is folded
once, and deleted only afterwards.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from isal import igzip

from drivers.reading import NOT_READ, Readings
from edge_agent.body import DAMAGED, unpack
from edge_agent.cursor import Cursor
from edge_agent.lines import Line, parse

log = logging.getLogger("edge.journal")

HOUR_MS = 3_600_000
FOLDED = 500
"""Rows counted at once: some ten milliseconds of work."""

Key = tuple[int, str, str]
"""Hour since 1970 UTC, device, and a measurement or the name of a count."""


class Tally(msgspec.Struct, array_like=True):
    """What the ledger counts of one device's measurement in one hour."""

    hour: int
    """Hours since 1970 UTC."""
    device: str
    measurement: str
    expected: int = 0
    read: int = 0
    stored: int = 0
    rejected: dict[str, int] = {}
    """Readings with nothing decodable, by reason."""


class Side(msgspec.Struct, array_like=True):
    """What a row keeps beside its lines for the slow paths."""

    tallies: list[Tally]
    monos: list[int]
    """CLOCK_BOOTTIME in ms of each line."""
    readings: list[int]
    """How many readings each line holds."""
    undated: list[int] = []
    """The lines, counted from 0, whose time is still to be found out."""


class SinkState(msgspec.Struct):
    """What is kept of one sink."""

    cursor: Cursor = msgspec.field(default_factory=Cursor)
    delivered: int = 0
    excluded: int = 0
    quarantined: int = 0
    words: str = ""
    """What the server said of the last reading that it refused."""
    only: tuple[str, ...] = ()
    """The measurements it took when the readings up to the cursor were settled; empty: all."""


_encode = msgspec.msgpack.Encoder().encode
_side = msgspec.msgpack.Decoder(Side).decode
_state = msgspec.msgpack.Decoder(SinkState).decode


def pack_side(side: Side) -> bytes:
    """As it is stored."""
    return bytes(igzip.compress(_encode(side), 1))


def unpack_side(packed: bytes) -> Side:
    """What `pack_side` made."""
    return _side(igzip.decompress(packed))  # type: ignore[no-untyped-call]  # isal ships no types here


def pack_state(state: SinkState) -> bytes:
    """As it is stored."""
    return _encode(state)


def counted(lines: Iterable[Line]) -> list[Tally]:
    """The counts of lines whose readings nobody else has counted."""
    counts: Counter[Key] = Counter()
    for line in lines:
        counts[line.time // HOUR_MS, line.device, line.measurement] += len(line.fields)
    return [Tally(*key, expected=n, read=n, stored=n, rejected={}) for key, n in counts.items()]


def tally(readings: Iterable[Readings]) -> dict[Key, Tally]:
    """Counts per hour, device and measurement. Not read: no answer came. Rejected: read, but nothing decodable."""
    found: dict[Key, Tally] = {}
    for some in readings:
        add_to(found, some)
    return found


def add_to(found: dict[Key, Tally], some: Readings) -> None:
    """Count the readings of one source and instant."""
    key = (some.time // HOUR_MS, some.source.device, some.source.measurement)
    count = found.get(key)
    if count is None:
        count = found[key] = Tally(*key, rejected={})
    size = len(some.values)
    count.expected += size * some.polls
    if some.faults or None in some.values:
        _tally_faulty(count, some)
    else:
        count.read += size
        count.stored += size


def merge(found: dict[Key, Tally], others: Mapping[Key, Tally]) -> None:
    """Add the counts of `others`."""
    for key, other in others.items():
        count = found.setdefault(key, Tally(*key, rejected={}))
        count.expected += other.expected
        count.read += other.read
        count.stored += other.stored
        for reason, n in other.rejected.items():
            count.rejected[reason] = count.rejected.get(reason, 0) + n


def _tally_faulty(count: Tally, some: Readings) -> None:
    for index, value in enumerate(some.values):
        reason = some.reason(index)
        if value is not None:
            count.read += 1
            count.stored += 1
        elif reason not in NOT_READ:
            count.read += 1
            count.rejected[reason.name] = count.rejected.get(reason.name, 0) + 1


class Ledger:
    """The ledger's table and the sinks' marks, on the journal's connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use `db`, whose tables are there."""
        self._db = db
        self.paused = False
        """True while rows are still being brought back from a damaged file: they must be counted in their order."""

    def folded(self) -> int:
        """Rows up to this one are in the ledger."""
        found = self._db.execute("SELECT value FROM meta WHERE key = 'folded'").fetchone()
        return int(found[0]) if found else 0

    def sinks(self) -> list[tuple[str, SinkState, int]]:
        """Name, state and mark (folded up to this row) of each sink ever configured."""
        rows = self._db.execute("SELECT id, state, folded FROM sinks").fetchall()
        return [(name, _state_or_new(name, state), folded) for name, state, folded in rows]

    def count(self, tallies: Iterable[Tally]) -> None:
        """Add counts that belong to no row."""
        counts: Counter[Key] = Counter()
        for count in tallies:
            _add_tally(counts, count)
        with self._db:
            self.add(counts)

    def fold(self, last_id: int, most: int = FOLDED) -> int:
        """Add the counts of up to `most` rows each to the ledger: of new rows, and of what sinks settled since.

        The number of rows folded; 0: the ledger is complete.
        """
        if self.paused:
            return 0
        counts: Counter[Key] = Counter()
        rows = last = 0
        for id_, side in self._sides(self.folded(), last_id, most):  # one at a time: a row may have 100 KB of counts
            rows, last = rows + 1, id_
            for count in side.tallies:
                _add_tally(counts, count)
        sinks = [(name, state, done) for name, state, done in self.sinks() if done < state.cursor.low]
        marks = [(name, *self._fold_sink(counts, name, state, done, most)) for name, state, done in sinks]
        if not rows and not marks:
            return 0
        with self._db:
            self.add(counts)
            if rows:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('folded', ?)", (last,))
            self._db.executemany("UPDATE sinks SET folded = ? WHERE id = ?", [(upto, n) for n, upto, _ in marks])
        return rows + sum(n for _, _, n in marks)

    def _fold_sink(self, counts: Counter[Key], name: str, state: SinkState, done: int, most: int) -> tuple[int, int]:
        """Count what `name` settled below its low-water mark; (new mark, rows)."""
        rows = last = 0
        for id_, side in self._sides(done, state.cursor.low, most):
            rows, last = rows + 1, id_
            _add_settled(counts, name, state, side)
            self._add_held(counts, name, id_)
        upto = last if rows == most else max(done, state.cursor.low)
        return upto, rows

    def _add_held(self, counts: Counter[Key], name: str, blob: int) -> None:
        query = "SELECT hour, device, count(*) FROM quarantine WHERE blob = ? AND sink = ? GROUP BY hour, device"
        for hour, device, n in self._db.execute(query, (blob, name)):
            counts[hour, device, "quarantined"] += n
            counts[hour, device, f"delivered:{name}"] -= n

    def add(self, counts: Mapping[Key, int]) -> None:
        """Count on, in the open transaction."""
        self._db.executemany(
            "INSERT INTO ledger VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET n = n + ?4",
            [(*key, n) for key, n in counts.items() if n],
        )

    def forget(self, before_hour: int) -> None:
        """Delete the hours (since 1970) before this one."""
        with self._db:
            self._db.execute("DELETE FROM ledger WHERE hour < ?", (before_hour,))

    def uncounted(self, counts: Counter[Key], last_id: int) -> Iterator[None]:
        """Count what `fold` has not added yet, and what sinks settled above their marks; a step for each row."""
        for _, side in self._sides(self.folded(), last_id, -1):
            for count in side.tallies:
                _add_tally(counts, count)
            yield
        for name, state, mark in self.sinks():
            for after, upto in [(mark, state.cursor.low), *state.cursor.ranges]:
                for id_, side in self._sides(max(after, mark), upto, -1):
                    _add_settled(counts, name, state, side)
                    self._add_held(counts, name, id_)
                    yield

    def _sides(self, after: int, upto: int, most: int) -> Iterator[tuple[int, Side]]:
        query = "SELECT id, side FROM blobs WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
        for id_, side in self._db.execute(query, (after, upto, most)):
            yield id_, self._side(id_, side)

    def _side(self, id_: int, packed: bytes) -> Side:
        """The counts of a row; where they are damaged, what can be counted in its lines."""
        try:
            return unpack_side(packed)
        except DAMAGED as error:
            log.error("counts of a journal row damaged row=%d error=%s", id_, error)
        (body,) = self._db.execute("SELECT body FROM blobs WHERE id = ?", (id_,)).fetchone()
        try:
            return Side(counted(parse(unpack(body))), [], [])
        except DAMAGED:
            return Side([], [], [])


def _state_or_new(name: str, packed: bytes) -> SinkState:
    """A sink's state; one that cannot be read any more lets the sink begin anew, which loses nothing."""
    try:
        return _state(packed)
    except msgspec.MsgspecError as error:
        log.error("state of a sink damaged sink=%s error=%s", name, error)
        return SinkState()


def _add_tally(counts: Counter[Key], count: Tally) -> None:
    for name in ("expected", "read", "stored"):
        counts[count.hour, count.device, name] += getattr(count, name)
    for reason, n in count.rejected.items():
        counts[count.hour, count.device, f"rejected:{reason}"] += n


def _add_settled(counts: Counter[Key], name: str, state: SinkState, side: Side) -> None:
    for count in side.tallies:
        taken = not state.only or count.measurement in state.only
        counts[count.hour, count.device, f"{'delivered' if taken else 'excluded'}:{name}"] += count.stored
